"""Configuration of a run: frozen settings, methods, presets, validation with all errors at once. No jax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from trainers.config.control_table import (
        CONTROL as CONTROL,
        control_options as control_options,
    )
    from trainers.config.former_versions import (
        modernised as modernised,
    )
    from trainers.config.methods import (
        SECTIONS as SECTIONS,
        TRAINERS as TRAINERS,
        Evaluation as Evaluation,
        Method as Method,
        Source as Source,
        snr_denominator as snr_denominator,
    )
    from trainers.config.optimisation import (
        EvolutionConfig as EvolutionConfig,
        GradientConfig as GradientConfig,
    )
    from trainers.config.policy_gradient import (
        PAPER_PPO_TASKS as PAPER_PPO_TASKS,
        PPOConfig as PPOConfig,
        paper_ppo as paper_ppo,
    )
    from trainers.config.published import (
        paper_settings as paper_settings,
    )
    from trainers.config.run_config import (
        RunConfig as RunConfig,
        SeedsConfig as SeedsConfig,
        changed_keys as changed_keys,
        from_dict as from_dict,
        preset_names as preset_names,
        resolve as resolve,
        to_dict as to_dict,
        to_toml as to_toml,
    )
    from trainers.config.sources import (
        layered as layered,
        named_code as named_code,
        override_values as override_values,
        preset_summaries as preset_summaries,
    )
    from trainers.config.stored_names import (
        as_found as as_found,
        as_published as as_published,
        as_stored as as_stored,
        score_name as score_name,
    )
    from trainers.config.strategy_table import (
        AUTO as AUTO,
        FACTS as FACTS,
        PARTIAL_KEYS as PARTIAL_KEYS,
        REFUSED as REFUSED,
        no_snr as no_snr,
    )
    from trainers.config.task_table import (
        KNOWN_KEYS as KNOWN_KEYS,
        default_network as default_network,
        network_faults as network_faults,
        task_faults as task_faults,
    )
    from trainers.config.toml_text import (
        parse_override as parse_override,
        parse_toml as parse_toml,
    )
    from trainers.config.validate import (
        Fault as Fault,
        Invalid as Invalid,
        refusal as refusal,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "control_table": ("CONTROL", "control_options"),
        "former_versions": ("modernised",),
        "methods": (
            "Evaluation",
            "Method",
            "Source",
            "SECTIONS",
            "TRAINERS",
            "snr_denominator",
        ),
        "optimisation": ("EvolutionConfig", "GradientConfig"),
        "policy_gradient": ("PAPER_PPO_TASKS", "PPOConfig", "paper_ppo"),
        "published": ("paper_settings",),
        "run_config": (
            "RunConfig",
            "SeedsConfig",
            "changed_keys",
            "from_dict",
            "preset_names",
            "resolve",
            "to_dict",
            "to_toml",
        ),
        "sources": (
            "layered",
            "named_code",
            "preset_summaries",
            "override_values",
        ),
        "stored_names": (
            "as_found",
            "as_published",
            "as_stored",
            "score_name",
        ),
        "strategy_table": (
            "AUTO",
            "FACTS",
            "PARTIAL_KEYS",
            "REFUSED",
            "no_snr",
        ),
        "task_table": (
            "KNOWN_KEYS",
            "default_network",
            "network_faults",
            "task_faults",
        ),
        "toml_text": (
            "parse_override",
            "parse_toml",
        ),
        "validate": (
            "Fault",
            "Invalid",
            "refusal",
        ),
    },
)
