"""The hyper-parameters of the paper's evolution strategies, and the accuracies that they reached. No jax.

References
----------
Lange & Sprekeler 2023, arXiv 2306.00045, and the configurations published beside it.
"""

from __future__ import annotations

from typing import Any

from landscape.errors import ConfigurationError
from trainers.config.optimisation import EvolutionConfig

__all__ = ["PUBLISHED_TASKS", "READING_ERROR", "paper_settings", "published_accuracies"]

IMAGES = ("mnist", "fashion_mnist", "kmnist")
_EVERYWHERE = "elsewhere"  # tasks without a row of their own

# Initial standard deviation, and the elite ratio, temperature or learning rate of the mean.
_SEP_CMA_ES = {
    **dict.fromkeys(IMAGES, (0.025, 0.5)),
    "ant": (0.05, 0.4),
    "fetch": (0.125, 0.2),
    "grasp": (0.1, 0.4),
    "halfcheetah": (0.05, 0.5),
    "hopper": (0.1, 0.1),
    "humanoid": (0.1, 0.2),
    "reacher": (0.05, 0.2),
    "ur5e": (0.15, 0.5),
    "walker2d": (0.1, 0.2),
    _EVERYWHERE: (0.1, 0.5),
}
_SNES = {
    **dict.fromkeys(IMAGES, (0.025, 12.0)),
    "ant": (0.05, 12.0),
    "fetch": (0.075, 12.0),
    "grasp": (0.05, 16.0),
    "halfcheetah": (0.05, 16.0),
    "hopper": (0.075, 48.0),
    "humanoid": (0.075, 32.0),
    "reacher": (0.05, 16.0),
    "ur5e": (0.075, 16.0),
    "walker2d": (0.075, 16.0),
    _EVERYWHERE: (0.1, 16.0),
}
_PGPE = {
    **dict.fromkeys(IMAGES, (0.05, 0.01)),
    "ant": (0.025, 0.01),
    "fetch": (0.05, 0.02),
    "grasp": (0.025, 0.01),
    "halfcheetah": (0.025, 0.02),
    "hopper": (0.05, 0.02),
    "humanoid": (0.05, 0.02),
    "reacher": (0.025, 0.02),
    "ur5e": (0.15, 0.03),
    "walker2d": (0.1, 0.03),
}
_DES = {
    **dict.fromkeys(("ant", "grasp", "halfcheetah", "reacher"), (0.05, 12.5)),
    **dict.fromkeys(("fetch", "hopper", "humanoid", "ur5e", "walker2d"), (0.075, 12.5)),
    _EVERYWHERE: (0.1, 12.5),
}
_TABLES: dict[str, tuple[str, dict[str, tuple[float, float]]]] = {
    "sep-cma-es": ("elite_ratio", _SEP_CMA_ES),
    "snes": ("temperature", _SNES),
    "pgpe": ("mean_learning_rate", _PGPE),
    "des": ("temperature", _DES),
}
_DECAYS = {
    "mean_learning_rate_decay": 0.999,
    "mean_learning_rate_min": 0.001,
    "std_decay": 0.999,
    "std_min": 0.01,
}
_BRAX = tuple(task for task in _PGPE if task not in IMAGES)
READING_ERROR = 0.003  # of accuracies that were read off figures
# Test accuracy by density, of (task, trainer, score).
_ACCURACIES: dict[tuple[str, str, str], dict[float, float]] = {
    ("mnist", "es", "snr"): {1.0: 0.982, 0.044: 0.977, 0.0144: 0.936},
    ("mnist", "es", "random"): {0.0144: 0.302},
    ("mnist", "gd", "magnitude"): {1.0: 0.990, 0.044: 0.970, 0.0144: 0.845},
    ("fashion_mnist", "es", "snr"): {1.0: 0.853, 0.0144: 0.820},
    ("fashion_mnist", "es", "random"): {0.0352: 0.746, 0.0144: 0.379},
    ("fashion_mnist", "gd", "magnitude"): {1.0: 0.894, 0.0144: 0.748},
    ("kmnist", "es", "snr"): {1.0: 0.835, 0.0144: 0.661},
    ("kmnist", "gd", "magnitude"): {1.0: 0.912, 0.0144: 0.530},
}
PUBLISHED_TASKS = (*IMAGES, *_BRAX, "pendulum")


def paper_settings(strategy: str, task: str, **changes: Any) -> EvolutionConfig:
    """Return the published settings of a strategy on a task, under the profile "corrected".

    Parameters
    ----------
    strategy : str
        ``"sep-cma-es"``, ``"snes"``, ``"pgpe"`` or ``"des"``.
    task : str
        One of `PUBLISHED_TASKS`: the images, the Brax environments, or ``"pendulum"``.
    **changes
        Values that win over the published ones, for instance ``profile="paper"``.

    Returns
    -------
    EvolutionConfig
        On images batches are examples; on control tasks ``batch_size`` counts the rollouts of a
        member.

    Raises
    ------
    ConfigurationError
        If nothing was published for the pair.
    """
    key, table = _TABLES.get(strategy, ("", {}))
    row = table.get(task, table.get(_EVERYWHERE))
    if row is None or task not in PUBLISHED_TASKS:
        known = ", ".join(
            name for name in _TABLES if task in _TABLES[name][1] or _EVERYWHERE in _TABLES[name][1]
        )
        raise ConfigurationError(
            f"nothing was published for {strategy} on {task}",
            expected=f"{known} on one of {', '.join(PUBLISHED_TASKS)}",
        )
    values = {"std_init": row[0], key: row[1], **(_DECAYS if strategy == "pgpe" else {})}
    return EvolutionConfig(**{"strategy": strategy, **_protocol(task), **values, **changes})


def published_accuracies(task: str, trainer: str, score: str) -> dict[float, float]:
    """Return test accuracies by density, read off the paper's figures to `READING_ERROR`.

    Parameters
    ----------
    task : str
        One of the images; nothing is there for other tasks.
    trainer, score : str
        ``"es"`` or ``"gd"``, and what was pruned by.
    """
    return dict(_ACCURACIES.get((task, trainer, score), {}))


def _protocol(task: str) -> dict[str, Any]:
    """Return what is the same for all strategies on a task."""
    if task in IMAGES:
        return {"population_size": 128, "generations": 4000, "batch_size": 1024, "mean_decay": 1e-4}
    if task in _BRAX:
        return {"population_size": 256, "generations": 3000, "batch_size": 8, "mean_decay": 1e-5}
    return {"population_size": 100, "generations": 2000, "batch_size": 8, "mean_decay": 1e-4}
