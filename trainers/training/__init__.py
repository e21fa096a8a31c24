"""Training of one level: evolution, gradient descent, policy gradient; one protocol, compiled chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from trainers.training.engine import (
        Engine as Engine,
    )
    from trainers.training.evaluation import (
        map_replicates as map_replicates,
        mean_loss as mean_loss,
        population_evaluator as population_evaluator,
    )
    from trainers.training.evolution import (
        Evolution as Evolution,
    )
    from trainers.training.gradient import (
        Gradient as Gradient,
    )
    from trainers.training.levels import (
        Hooks as Hooks,
        LevelRunner as LevelRunner,
        Outcome as Outcome,
        snapshot_step as snapshot_step,
        snapshot_tag as snapshot_tag,
    )
    from trainers.training.policy_gradient import (
        PPO as PPO,
        make_ppo as make_ppo,
    )
    from trainers.training.space import (
        Space as Space,
    )
    from trainers.training.trainable import (
        require_trainable as require_trainable,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "engine": ("Engine",),
        "evaluation": (
            "map_replicates",
            "mean_loss",
            "population_evaluator",
        ),
        "evolution": ("Evolution",),
        "gradient": ("Gradient",),
        "levels": (
            "Hooks",
            "LevelRunner",
            "Outcome",
            "snapshot_step",
            "snapshot_tag",
        ),
        "policy_gradient": ("PPO", "make_ppo"),
        "space": ("Space",),
        "trainable": ("require_trainable",),
    },
)
