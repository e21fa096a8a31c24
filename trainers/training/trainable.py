"""Whether a configuration can be trained on a problem: sizes are checked before anything is written."""

from __future__ import annotations

import math
from collections.abc import Iterator

from landscape import Problem
from trainers.config import CONTROL, SECTIONS, Fault, Invalid, Method, RunConfig, refusal
from trainers.pruning import NEED_DERIVATIVES

__all__ = ["require_trainable"]

_SAME = 1e-9  # relative difference between densities that are the same


def require_trainable(
    config: RunConfig, problem: Problem, *, own_optimizer: bool = False, own_environment: bool = False
) -> None:
    """Refuse a configuration whose levels cannot all be trained on a problem.

    Parameters
    ----------
    config : RunConfig
        The run.
    problem : Problem
        What it trains on.
    own_optimizer : bool
        Whether the user's optimiser stands in place of the configured one of gradient descent.
    own_environment : bool
        Whether the user has given the environment of the problem's episodes.

    Raises
    ------
    ConfigurationError
        Listing, by key: batches larger than the data, a warm-up, a rewinding or a branch beyond the
        steps of a level, levels of another density than those of the method they are taken from, and
        scores whose inputs are missing, and policy gradients without an environment.
    """
    faults: list[Fault] = []
    for method in map(config.resolved, config.methods):
        faults += _derivatives(config, method, problem)
        faults += _batch(config, method, problem, own_optimizer)
        faults += _environment(config, method, problem, own_environment)
        faults += _tickets(config, method)
        if own_optimizer and method.trainer == "gd" and method.score == "snr":
            index = config.methods.index(method.name)
            wanted = "expected another score than snr (an optimizer of your own tells no moments)"
            faults.append((f".methods[{index}]", f"{wanted}, got {method.name}"))
    if faults:
        raise refusal(f"{config.name}: cannot be trained", Invalid(dict.fromkeys(faults)))


def _derivatives(config: RunConfig, method: Method, problem: Problem) -> Iterator[Fault]:
    """Yield the faults of methods that differentiate a loss that has no derivatives."""
    if problem.differentiable:
        return
    place, episodes = f".methods[{config.methods.index(method.name)}]", f"episodes of {problem.name}"
    if method.trainer == "gd":
        yield place, f"expected an evolution strategy or ppo ({episodes} have no gradient), got {method.name}"
    if method.score in NEED_DERIVATIVES:
        yield place, f"expected another score ({episodes} have no gradient), got {method.score}"


def _batch(config: RunConfig, method: Method, problem: Problem, own_optimizer: bool) -> Iterator[Fault]:
    """Yield the faults of what depends on the number of training examples."""
    section, available = SECTIONS[method.trainer], problem.num_examples("train")
    size = 0 if method.trainer == "ppo" else getattr(method, section).batch_size
    if size > available:
        wanted = f"larger than the training data: expected at most {available:,} (examples of {problem.name})"
        yield _key(config, method, section, "batch_size"), f"{wanted}, got {size:,}"
        return
    steps = num_steps(method, available)
    fewer = f"expected fewer than the {steps:,} steps of a level"
    warmup = method.gradient.warmup_steps if section == "gradient" and not own_optimizer else 0
    if warmup >= steps:
        yield _key(config, method, section, "warmup_steps"), f"{fewer}, got {warmup:,}"
    pruning = method.pruning
    if method.source is None and len(pruning.schedule) > 1 and pruning.rewind_step >= steps:
        message = f"{fewer} of {method.name}, got {pruning.rewind_step:,}"
        yield _key(config, method, "pruning", "rewind_step"), message
    for index, seeds in enumerate(config.seeds):
        if seeds.branch_step > steps:
            most = f"expected at most the {steps:,} steps of a level of {method.name}"
            yield f".seeds[{index}].branch_step", f"{most}, got {seeds.branch_step:,}"


def _environment(config: RunConfig, method: Method, problem: Problem, own: bool) -> Iterator[Fault]:
    """Yield the fault of a policy gradient on episodes that it cannot play as they count."""
    if method.trainer != "ppo":
        return
    task = problem.task or {}
    if task.get("network") is None or not (own or task.get("name") in CONTROL):
        wanted = (
            f"expected another algorithm ({problem.name} is not known to have an environment and a policy)"
        )
        yield f".methods[{config.methods.index(method.name)}]", f"{wanted}, got {method.name}"
    elif problem.weights is not None:
        wanted = "expected episodes without weights (a policy gradient begins all of them equally often)"
        yield f".methods[{config.methods.index(method.name)}]", f"{wanted}, got {method.name}"


def _tickets(config: RunConfig, method: Method) -> Iterator[Fault]:
    """Yield the densities that the method whose tickets are taken does not have."""
    source = method.source
    if source is None or source.run is not None:
        return
    there = config.resolved(source.method).pruning.schedule
    for density in method.pruning.schedule:
        if not any(math.isclose(density, other, rel_tol=_SAME) for other in there):
            wanted = "expected densities of " + f"{source.method} ({', '.join(f'{x:.4g}' for x in there)})"
            yield f".method.{method.name}.pruning", f"{wanted}, got {density:.4g}"


def num_steps(method: Method, num_examples: int) -> int:
    """Return the steps of a level of a method: generations, minibatches of whole epochs, or updates."""
    if method.trainer == "es":
        return method.evolution.generations
    if method.trainer == "ppo":
        return method.ppo.num_updates
    return method.gradient.epochs * (num_examples // method.gradient.batch_size)


def _key(config: RunConfig, method: Method, section: str, key: str) -> str:
    """Return where a setting of a method was given: in its own table, or in the section of all."""
    own = config.method.get(method.name, {}).get(section, {})
    return f".method.{method.name}.{section}.{key}" if key in own else f".{section}.{key}"
