"""Configurations: layers, TOML there and back, and every error at once."""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from cli.main import run
from landscape import Checkpoint, save
from landscape.errors import CheckpointError, ConfigurationError
from trainers.config import (
    EvolutionConfig,
    RunConfig,
    SeedsConfig,
    changed_keys,
    from_dict,
    modernised,
    preset_names,
    preset_summaries,
    resolve,
    snr_denominator,
    to_dict,
    to_toml,
)
from trainers.config.run_config import PruningConfig
from trainers.config.toml_text import dump_toml
from trainers.runs import RunFolder


def problems_of(values: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        from_dict(values)
    assert caught.value.exit_code == 2
    return caught.value.problems


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["digits", "mnist-short", "quickstart", "smoke"])
def test_a_preset_is_valid_and_named_after_itself(name: str) -> None:
    assert name in preset_names()
    assert resolve(name).name == name


def test_every_preset_says_in_one_line_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    summaries = preset_summaries()
    assert list(summaries) == preset_names()
    assert run(["train", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name, text in summaries.items():
        assert 20 < len(text) <= 80
        assert f"{name} {text}" in shown


def test_the_quickstart_ends_below_four_percent_and_has_both_kinds_of_pairs() -> None:
    config = resolve("quickstart")
    assert len(config.pruning.schedule) >= 10
    assert config.pruning.schedule[-1] <= 0.04
    inits = [seeds.init for seeds in config.seeds]
    assert 1 < len(set(inits)) < len(inits)


def test_the_density_of_level_k_is_the_ratio_to_the_k() -> None:
    assert PruningConfig(levels=4, ratio=0.8).schedule == tuple(0.8**k for k in range(4))
    assert PruningConfig(densities=(1.0, 0.3)).schedule == (1.0, 0.3)
    assert PruningConfig(densities=(1.0, 0.3)).levels == 2


@pytest.mark.parametrize("name", ["digits", "mnist-short", "quickstart", "smoke"])
def test_dictionaries_json_and_toml_give_the_configuration_back(name: str) -> None:
    config = resolve(name)
    assert from_dict(to_dict(config)) == config
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
    assert from_dict(tomllib.loads(to_toml(config))) == config


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PLAIN = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXT, PLAIN, max_size=5))
def test_tomllib_reads_back_every_table_that_is_written(values: dict[str, Any]) -> None:
    assert tomllib.loads(dump_toml(values)) == values


@given(
    st.dictionaries(TEXT, PLAIN, max_size=3),
    st.floats(1e-6, 0.99),
    st.none() | st.floats(1e-3, 1e3),
    st.sets(st.integers(0, 2**32 - 1), min_size=1, max_size=4),
)
def test_every_configuration_survives_toml(
    options: dict[str, Any], decay: float, temperature: float | None, seeds: set[int]
) -> None:
    config = RunConfig(
        name="ε-Läufe 😀",
        task_options=options,
        seeds=tuple(SeedsConfig(init=0, train=seed, mask=1) for seed in sorted(seeds)),
        pruning=PruningConfig(densities=(1.0, 0.5, 1e-3)),
        evolution=EvolutionConfig(mean_decay=decay, temperature=temperature),
    )
    assert from_dict(tomllib.loads(to_toml(config))) == config


def test_seeds_may_be_numbers_or_tables_and_a_missing_mask_is_the_train_seed() -> None:
    config = from_dict({"seeds": [3, {"init": 0, "train": 1}, {"init": 0, "train": 2, "mask": 9}]})
    assert config.seeds == (
        SeedsConfig(init=3, train=3, mask=3),
        SeedsConfig(init=0, train=1, mask=1),
        SeedsConfig(init=0, train=2, mask=9),
    )


@pytest.mark.faults
def test_row_31_every_fault_is_listed_at_once_with_its_key() -> None:
    found = problems_of(
        {
            "nme": "x",
            "methods": ["es", "es-snrr"],
            "seeds": [0, -1, True, {"init": 0}],
            "pruning": {"levels": 3, "densities": [1.0, 0.5, 0.6]},
            "evolution": {"population_size": 1, "std_init": math.nan, "temprature": 1.0},
            "gradient": 3,
            "network": {"kind": "mlp", "widths": [-3]},
        }
    )
    keys = [problem.split(":")[0] for problem in found]
    assert keys == [
        "nme",
        "seeds[1]",
        "seeds[2]",
        "seeds[3]",
        "pruning.levels",
        "pruning.densities[2]",
        "evolution.population_size",
        "evolution.std_init",
        "evolution.temprature",
        "gradient",
        "network.widths[0]",
        "methods[0]",
        "methods[1]",
    ]
    assert all("expected" in p and "got" in p for p in found if "population" in p or "std_init" in p)


@pytest.mark.faults
def test_row_31_task_options_and_network_are_listed_with_all_other_errors() -> None:
    changes = ["evolution.generatoins=3", "task_options.download=no", "task_options.fodler=x"]
    with pytest.raises(ConfigurationError) as caught:
        resolve("smoke", overrides=[*changes, "network={kind='mpl'}"])
    assert caught.value.problems == (
        "evolution.generatoins: unknown key; did you mean evolution.generations?",
        "task_options.download: expected true or false, got 'no'",
        "task_options.fodler: unknown key; did you mean task_options.folder?",
        "network.kind: expected one of mlp, lenet-300-100, paper-cnn (did you mean mlp?), got 'mpl'",
    )
    with pytest.raises(ConfigurationError) as caught:
        resolve("smoke", overrides=["task=mnits", "evolution.generations=0"])
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["evolution.generations", "task"]
    assert "(did you mean mnist?), got 'mnits'" in caught.value.problems[1]


@pytest.mark.faults
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("network={kind='mlp'}", "network.widths: expected it for mlp, got none"),
        ("network={kind='mlp', width=[8]}", "network.width: unknown key; did you mean network.widths?"),
        ("network={kind='paper-cnn', widths=[8]}", "network.widths: unknown key; valid here are kind"),
        ("network={kind='mlp', widths=[0]}", "network.widths[0]: expected a whole number ≥ 1"),
        ("network={kind='mlp', widths=8}", "network.widths: expected a list of layer widths"),
    ],
)
def test_row_31_a_network_that_a_built_in_task_lacks_is_refused_by_key(
    change: str, problem: str, folder: Path
) -> None:
    Path("mine.toml").write_text(f"{change.partition('=')[0]} = {change.partition('=')[2]}\n")
    with pytest.raises(ConfigurationError) as caught:
        from_dict(tomllib.loads(Path("mine.toml").read_text()), own_problem=False)
    places = [found.split(":")[0] for found in caught.value.problems]
    assert len(set(places)) == len(places)
    assert any(found.startswith(problem.partition("; valid")[0]) for found in caught.value.problems)


def test_a_network_without_hidden_layers_is_one() -> None:
    assert resolve("smoke", overrides=["network.widths=[]"]).network == {"kind": "mlp", "widths": []}


def test_a_problem_of_your_own_may_be_called_anything() -> None:
    changes = ["task=moons", "network={kind='mine', depth=3}", "task_options.noise=0.1"]
    config = resolve("smoke", overrides=changes, own_problem=True)
    assert (config.task, dict(config.network)) == ("moons", {"kind": "mine", "depth": 3})
    assert from_dict(to_dict(config)) == config  # as a finished run is read
    with pytest.raises(ConfigurationError, match="task: expected one of digits"):
        resolve("smoke", overrides=changes)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"evolution": {"population_size": 1}}, "has no rank"),
        ({"evolution": {"population_size": True}}, "whole number"),
        ({"evolution": {"generations": 2.0}}, "whole number"),
        ({"evolution": {"generations": 10**400}}, "whole number"),
        ({"evolution": {"std_init": 10**400}}, "finite number"),
        ({"evolution": {"std_init": math.inf}}, "finite number"),
        ({"evolution": {"std_min": 0.1}}, "at most std_init"),
        ({"pruning": {"densities": [1.0, -0.5]}}, r"densities\[1\]: expected a finite number > 0"),
        ({"pruning": {"densities": [0.9, 0.5]}}, "starts at 1.0"),
        ({"pruning": {"ratio": 0.01, "levels": 100}}, "last density"),
        ({"pruning": {"ratio": 0.5, "densities": [1.0, 0.2]}}, "conflicts with densities"),
        ({"methods": ["sgd-snr"]}, "no signal-to-noise score: sgd keeps no second"),
        ({"methods": ["es-snrr"]}, "did you mean es-snr"),
        ({"methods": ["x"], "method": {"x": {"source": "es-snr", "algorithm": "es"}}}, "stands before it"),
        ({"methods": ["es-snr"], "method": {"y": {}}}, "is not in methods"),
        ({"method": {"es-snr": {"control": "permute-mask"}}}, "whose tickets it changes"),
        ({"method": {"es-snr": {"pruning": {"scop": "er"}}}}, "did you mean pruning.scope"),
        ({"method": {"es-snr": {"evolution": {"generations": 0}}}}, r"es-snr.evolution.generations: exp"),
        ({"seeds": [0, {"init": 0, "train": 1, "branch_from": 4}]}, "a replicate that is not a branch: 0"),
        ({"seeds": [0, {"init": 9, "train": 1, "branch_from": 0}]}, r"\[1\].init: expected that of"),
        (
            {"seeds": [0, {"init": 0, "train": 1, "mask": 1, "branch_from": 0}]},
            r"\[1\].mask: expected that of",
        ),
        ({"pruning": {"rewind": "step"}}, "rewind_step: expected ≥ 1"),
        ({"methods": ["es-snr", "es-snr"]}, "each one once"),
        ({"methods": []}, "expected a list"),
        ({"seeds": [0, {"init": 5, "train": 0}]}, "name the folders"),
        ({"seeds": 2}, "a list of seeds"),
        ({"seeds": [2**32]}, "a seed from 0"),
        ({"network": {"widths": [3]}}, "network.kind"),
        ({"task_options": {"a": {"b": [None]}}}, r"task_options\.a\.b\[0\]"),
        ({"task_options": {"a": "\ud800"}}, r"task_options\.a"),
        ({"name": "../up"}, "no slash"),
        ({"name": "a\x1b[2J"}, "printable"),
    ],
)
def test_row_31_a_fault_says_what_was_expected(values: dict[str, Any], message: str) -> None:
    (problem,) = problems_of(values)
    with pytest.raises(ConfigurationError, match=message):
        raise ConfigurationError(problem)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("values", "near"),
    [
        ({"generations": 3}, "evolution.generations"),
        ({"evolution": {"learning_rate": 3.0}}, "gradient.learning_rate"),
        ({"pruning": {"densties": [1.0]}}, "pruning.densities"),
        ({"prunning": {}}, "pruning"),
        ({"seeds": [{"init": 0, "train": 0, "msk": 1}]}, "seeds[0].mask"),
    ],
)
def test_row_31_an_unknown_key_is_answered_with_the_nearest(values: dict[str, Any], near: str) -> None:
    assert problems_of(values) == (f"{_key(values)}: unknown key; did you mean {near}?",)


def _key(values: dict[str, Any]) -> str:
    ((key, value),) = values.items()
    if isinstance(value, dict) and value:
        return f"{key}.{next(iter(value))}"
    return "seeds[0].msk" if key == "seeds" else key


def test_an_unknown_key_that_resembles_none_lists_the_valid_ones() -> None:
    (problem,) = problems_of({"runtime": {"xyzzy": 1}})
    assert "chunk_seconds, save_every_seconds" in problem


def test_settings_built_in_python_are_checked_and_converted_too() -> None:
    with pytest.raises(ConfigurationError, match="population_size") as caught:
        EvolutionConfig(population_size=1, elite_ratio=2.0)
    assert len(caught.value.problems) == 2
    config = RunConfig(seeds=[4], methods=["es-snr"])  # type: ignore[arg-type]
    assert config.seeds == (SeedsConfig(init=4, train=4, mask=4),)
    assert type(EvolutionConfig(std_init=np.float32(0.5)).std_init) is float  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.name = "other"  # type: ignore[misc]


def test_later_layers_win(folder: Path) -> None:
    Path("base.toml").write_text("[evolution]\ngenerations = 1\nbatch_size = 1\nstd_init = 0.1\n")
    Path("extra.toml").write_text("[evolution]\nbatch_size = 2\nstd_init = 0.2\n")
    config = resolve("base.toml", extra=Path("extra.toml"), overrides=["evolution.std_init=0.3"]).evolution
    assert (config.generations, config.batch_size, config.std_init) == (1, 2, 0.3)
    assert config.population_size == EvolutionConfig().population_size


def test_a_file_may_extend_a_preset_and_is_called_like_itself(folder: Path) -> None:
    Path("mine.toml").write_text('extends = "smoke"\n[evolution]\ngenerations = 7\n')
    config = resolve("mine.toml")
    assert config.name == "mine"
    assert config.evolution == dataclasses.replace(resolve("smoke").evolution, generations=7)
    Path("extra.toml").write_text('extends = "smoke"\n')
    with pytest.raises(ConfigurationError, match="only the main configuration"):
        resolve("smoke", extra=Path("extra.toml"))
    Path("wrong.toml").write_text('extends = "smok"\n')
    with pytest.raises(ConfigurationError, match="smoke"):
        resolve("wrong.toml")


def test_what_a_layer_supersedes_is_dropped() -> None:
    assert resolve("digits", overrides=["pruning.densities=[1.0, 0.1]"]).pruning.schedule == (1.0, 0.1)
    assert dict(resolve("digits", overrides=["network.kind=paper-cnn"]).network) == {"kind": "paper-cnn"}
    both = ["network.widths=[64]", "network.kind=mlp"]
    assert resolve("mnist-short", overrides=both).network == {"kind": "mlp", "widths": [64]}
    with pytest.raises(ConfigurationError, match="conflicts"):
        resolve("digits", overrides=["pruning.densities=[1.0, 0.1]", "pruning.levels=3"])


def test_a_layer_that_changes_the_strategy_drops_what_only_the_former_one_uses(folder: Path) -> None:
    Path("base.toml").write_text("[evolution]\ntemperature = 3.0\ngenerations = 7\n")
    change = ["evolution.strategy=pgpe", "evolution.beta1=0.5"]
    found = resolve("base.toml", overrides=change).evolution
    assert (found.strategy, found.temperature, found.beta1, found.generations) == ("pgpe", "auto", 0.5, 7)
    assert resolve("base.toml", overrides=["evolution.strategy=snes"]).evolution.temperature == 3.0
    with pytest.raises(ConfigurationError, match="temperature: expected auto"):
        resolve("base.toml", overrides=[*change, "evolution.temperature=3.0"])


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("methods=[es-snr, gd-random]", ("es-snr", "gd-random")),
        ("name=plain words", "plain words"),
        ("name='quoted'", "quoted"),
        ("seeds=[5]", (SeedsConfig(init=5, train=5, mask=5),)),
    ],
)
def test_the_value_of_an_override_is_toml_or_a_bare_word(override: str, value: Any) -> None:
    config = resolve("smoke", overrides=[override])
    assert getattr(config, override.partition("=")[0]) == value


def test_the_word_none_stands_for_nothing() -> None:
    assert resolve("smoke", overrides=["evolution.temperature=none"]).evolution.temperature is None


@pytest.mark.faults
def test_row_31_overrides_that_cannot_be_read_are_listed_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve("smoke", overrides=["generations", "=3", "evolution..std_init=1"])
    assert len(caught.value.problems) == 3
    with pytest.raises(ConfigurationError, match="name"):  # a second line is no second key
        resolve("smoke", overrides=["name=1\nseeds=[9]"])


@pytest.mark.faults
def test_row_31_an_unknown_preset_names_the_nearest_and_all() -> None:
    with pytest.raises(ConfigurationError, match="Did you mean quickstart") as caught:
        resolve("quikstart")
    assert all(name in str(caught.value) for name in preset_names())


@pytest.mark.faults
@pytest.mark.parametrize(
    ("data", "place"),
    [(b"a = 1\nb = = 2\n", "line 2"), (b"a = 1\n\nb = '\xff'\n", "line 3"), (b"a = 1\nb = [1,", "line 2")],
)
def test_row_31_a_toml_error_names_file_and_line(data: bytes, place: str, folder: Path) -> None:
    Path("bad.toml").write_bytes(data)
    with pytest.raises(ConfigurationError, match=rf"bad\.toml, {place}"):
        resolve("bad.toml")


@pytest.mark.faults
def test_row_27_odd_configuration_paths_are_refused_by_name(folder: Path) -> None:
    Path("folder.toml").mkdir()
    for name in ("folder.toml", "missing.toml", "x" * 300 + ".toml", "~nobody-here/x.toml"):
        with pytest.raises(ConfigurationError, match=name[:20]):
            resolve(name)
    Path("größe.toml").write_bytes("\ufeffname = 'größe'\n".encode())
    assert resolve("größe.toml").name == "größe"


def test_the_configuration_stored_in_a_checkpoint_is_used(folder: Path) -> None:
    config = resolve("smoke")
    params = {"kernel": np.ones((2, 2), np.float32)}
    save("a.h5", Checkpoint(params=params, config=to_dict(config)))
    assert resolve("a.h5") == config
    assert resolve("a.h5", overrides=["pruning.levels=3"]).pruning.levels == 3
    save("b.h5", Checkpoint(params=params))
    with pytest.raises(ConfigurationError, match="no configuration"):
        resolve("b.h5")
    with pytest.raises(CheckpointError):
        resolve("missing.h5")


def test_changed_keys_are_dotted_and_sorted() -> None:
    old = to_dict(resolve("smoke"))
    new = to_dict(resolve("smoke", overrides=["seeds=[7]", "evolution.std_init=0.2", "name=b"]))
    assert changed_keys(old, new) == ["evolution.std_init", "name", "seeds"]
    assert changed_keys(old, old) == []


def test_an_explicit_denominator_wins_over_the_profile() -> None:
    """In a stored configuration of format 1 "std" was no choice, and the paper's profile overruled both."""
    paper = ["methods=['sep-cma-es-snr', 'snes-snr', 'gd-snr']", "evolution.profile=paper"]

    def divided_by(config: RunConfig) -> list[str]:
        return [snr_denominator(config.resolved(name)) for name in config.methods]

    assert divided_by(resolve("smoke", overrides=paper)) == ["variance", "std", "std"]
    for asked in ("std", "variance"):
        config = resolve("smoke", overrides=[*paper, f"pruning.snr_denominator={asked}"])
        assert divided_by(config) == [asked] * 3
        former = to_dict(config)
        del former["format"]
        assert divided_by(from_dict(modernised(former))) == ["variance", "std", asked]
        assert from_dict(modernised(to_dict(config))) == config


def test_a_run_stored_in_format_1_goes_on_with_the_configuration_it_was_given(tmp_path: Path) -> None:
    config = resolve("smoke", overrides=["evolution.profile=paper", "evolution.strategy=sep-cma-es"])
    RunFolder.open(tmp_path / "old", config).close()
    text = (tmp_path / "old/run.toml").read_text()
    assert "format = 2\n" in text
    former = text.replace("format = 2\n", "").replace('snr_denominator = "auto"', 'snr_denominator = "std"')
    (tmp_path / "old/run.toml").write_text(former)
    assert resolve(tmp_path / "old/run.toml") == config
    RunFolder.open(tmp_path / "old", config, resume=True).close()
    assert (tmp_path / "old/run.toml").read_text() == former
