"""placeholder, replaced by the real module"""
from __future__ import annotations
import dataclasses
@dataclasses.dataclass(frozen=True, kw_only=True)
class EvolutionConfig:
    strategy: str = "snes"
    population_size: int = 128
    generations: int = 500
    batch_size: int = 512
    std_init: float = 0.05
    mean_decay: float = 1e-4
    temperature: float | None = 12.0
    elite_ratio: float = 0.5
    eval_every: int = 100
    std_min: float = 0.0
@dataclasses.dataclass(frozen=True, kw_only=True)
class GradientConfig:
    optimizer: str = "adam"
    learning_rate: float = 3e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup_steps: int = 0
    epochs: int = 20
    batch_size: int = 128
    eval_every_epochs: float = 1.0
