"""Bad input to measures of flatness: refused, or answered and labelled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flatness_samples import (
    F64,
    QUICK,
    quadratic,
    relu_network,
    relu_problem,
    values,
)

import landscape
from landscape import Checkpoint, Metric, Problem, flatness_table, load, measure_flatness, save
from landscape.errors import (
    ConfigurationError,
    DeviceMemoryError,
    InputError,
    MaskError,
    NonFiniteError,
    ProblemError,
)
from landscape.flatness.evaluations import Programs


@pytest.mark.faults
def test_row_12_weights_that_are_not_finite_are_refused_or_measured_as_such() -> None:
    network = relu_network()
    network["Dense_1"]["kernel"][0, 0] = np.nan
    with pytest.raises(NonFiniteError, match="Dense_1/kernel"):
        measure_flatness(relu_problem(), network, measures=QUICK)
    found = measure_flatness(relu_problem(), network, measures=["gaussian", "sam"], allow_nonfinite=True)
    assert found.status == "non-finite"


@pytest.mark.faults
def test_row_13_a_loss_that_overflows_at_some_radii_marks_them() -> None:
    problem = Problem(lambda p, b: jnp.exp(b * p["w"] ** 2), train=np.ones(3, np.float32))
    found = landscape.gaussian_robustness(
        problem, {"w": np.zeros(1, np.float32)}, radius=0.1, radii=[0.1, 100.0], draws=16
    )
    assert found.status == "ok"
    assert np.isfinite(found.details["curve"]["loss_rise"]).tolist() == [True, False]
    bad = landscape.gaussian_robustness(problem, {"w": np.zeros(1, np.float32)}, radius=100.0, draws=16)
    assert bad.status == "non-finite"
    assert bad.to_dict()["data"]["value"] is None


@pytest.mark.faults
def test_row_14_masks_that_do_not_fit_or_leave_nothing_are_refused() -> None:
    network = relu_network()
    nothing = jax.tree.map(lambda x: np.zeros(x.shape, bool), network)
    with pytest.raises(MaskError, match="nothing is left"):
        measure_flatness(relu_problem(), network, mask=nothing)
    with pytest.raises(MaskError):
        measure_flatness(relu_problem(), network, mask={"w": np.ones(3, bool)})


@pytest.mark.faults
def test_row_15_statistics_of_normalisation_layers_are_held_as_stored() -> None:
    def loss(given: Any, batch: Any) -> jax.Array:
        params, stats = given
        return ((batch - stats["mean"]) @ params["w"]) ** 2

    problem = Problem(
        loss,
        train=np.eye(3, dtype=np.float32),
        update_stats=lambda given, batch: {"mean": batch.mean(0) + 0 * given[0]["w"]},
    )
    params, stats = {"w": np.ones(3, np.float32)}, {"mean": np.full(3, 0.5, np.float32)}
    found = measure_flatness(problem, (params, stats), measures=["trace", "keskar"])
    shifted = np.eye(3) - 0.5
    assert values(found)["trace"] == pytest.approx(2 * np.trace(shifted.T @ shifted) / 3, rel=1e-5)
    assert found.config["batch_stats"] == "stored"


@pytest.mark.faults
def test_row_16_a_loss_that_mixes_examples_is_refused() -> None:
    problem = Problem(lambda p, b: (b * p["w"]).mean() + 0 * b, train=np.arange(8.0))
    with pytest.raises(ProblemError):
        measure_flatness(problem, {"w": np.array(1.0)}, measures=["gaussian"])


@pytest.mark.faults
def test_row_19_one_example_and_batches_larger_than_the_data() -> None:
    problem = Problem(lambda p, b: (b * p["w"]) ** 2, train=np.ones(1))
    found = measure_flatness(problem, {"w": np.array(1.0)}, measures="all", batch_size=50, draws=2, **F64)
    assert values(found)["trace"] == 2.0
    assert values(found)["sam"] == pytest.approx(1.05**2 - 1)


@pytest.mark.faults
def test_row_21_memory_that_runs_out_is_told_with_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    original = Programs.__init__

    def broken(self: Programs, given: Any) -> None:
        original(self, given)
        self.rise = self._compiled["along"] = fail

    monkeypatch.setattr(Programs, "__init__", broken)
    problem, params, _, _ = quadratic(examples=9)
    with pytest.raises(DeviceMemoryError, match="--batch-size 4"):
        measure_flatness(problem, params, measures=["gaussian"], batch_size=8)


@pytest.mark.faults
def test_whole_numbers_among_the_parameters_stay_as_they_are() -> None:
    def loss(params: Any, batch: Any) -> jax.Array:
        return (batch * params["w"] * params["n"]) ** 2

    params = {"w": np.array(2.0), "n": np.array(3)}
    found = measure_flatness(Problem(loss, train=np.ones(2)), params, measures=["trace", "sam"], **F64)
    assert values(found)["trace"] == 18.0
    assert values(found)["sam"] == pytest.approx(9 * (2.05**2 - 4))
    assert any("constants: n" in warning for warning in found.warnings)


@pytest.mark.faults
def test_names_and_radii_that_are_none_are_refused() -> None:
    problem, params, _, _ = quadratic()
    with pytest.raises(ConfigurationError, match="'flatnes'"):
        measure_flatness(problem, params, measures=["flatnes"])
    with pytest.raises(ConfigurationError, match="takes no radius"):
        measure_flatness(problem, params, measures=["trace"], radii={"trace": 0.1})
    with pytest.raises(ConfigurationError, match="not measured"):
        measure_flatness(problem, params, measures=["trace"], radii={"sam": 0.1})
    with pytest.raises(ConfigurationError, match="nothing to measure"):
        flatness_table(problem, [])
    with pytest.raises(ConfigurationError, match="draws"):
        landscape.gaussian_robustness(problem, params, draws=1)
    with pytest.raises(ConfigurationError, match="radius"):
        landscape.gaussian_robustness(problem, params, radius=-1.0)
    with pytest.raises(ConfigurationError, match=r"(?s)seed.*below 2\*\*32"):
        measure_flatness(problem, params, measures=["gaussian"], seed=2**40)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sma": {"m": 3}}, "did you mean sam"),
        ({"keskar": {"steps": 3}}, "is not measured"),
        ({"sam_ascent": {"step": 3}}, "did you mean steps"),
        ({"sam": {"steps": 3}}, "measure sam_ascent"),
        ({"average": {"temperature": 2.0}}, "measure average_normalised"),
        ({"sam": {"radius": 3}}, "--radius"),
        ({"sam": {"m": 2.5}}, "whole number"),
        ({"local_entropy": {"reference": -1.0}}, "positive number"),
        ({"local_entropy": {"reference": 10.0}}, "--set local_entropy.reference"),
        ({"sam": {"m": -1, "seed": 2}}, r"(?s)sam\.m.*sam\.seed"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_before_anything_is_measured(
    settings: dict[str, dict[str, Any]], said: str
) -> None:
    names = ["sam", "sam_ascent", "average", "local_entropy"]
    with pytest.raises(ConfigurationError, match=said):
        measure_flatness(None, "no such file.h5", measures=names, settings=settings)


@pytest.mark.faults
@pytest.mark.parametrize("name", ["search", "pac_bayes", "average_normalised"])
def test_what_was_asked_for_by_name_and_cannot_be_had_is_refused(name: str) -> None:
    problem, params, _, _ = quadratic()
    with pytest.raises((InputError, ProblemError)):
        measure_flatness(problem, params, measures=[name])


@pytest.mark.faults
@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_standard_deviations_that_are_none_are_refused_when_loaded_and_when_used(
    bad: float, tmp_path: Path
) -> None:
    network = relu_network()
    std = jax.tree.map(lambda x: np.full(x.shape, 0.1), network)
    std["Dense_1"]["kernel"][0, 0] = bad
    given = Checkpoint(params=network, std=std)
    with pytest.raises(InputError, match="std: Dense_1/kernel: 1 of"):
        measure_flatness(relu_problem(), given, measures=["search"])
    path = save(tmp_path / "a.h5", given)
    with pytest.raises(InputError, match="std: Dense_1/kernel: 1 of"):
        load(path, allow_nonfinite=False)
    if bad < 0:
        with pytest.raises(InputError, match="got -1"):
            load(path)


@pytest.mark.faults
def test_row_46_after_a_loss_that_is_no_number_nothing_else_of_the_row_is_one() -> None:
    def far(params: Any, batch: Any) -> jax.Array:
        return jnp.where(params["w"] != 0, jnp.nan, batch * (1 + params["w"]))

    metrics = {"accuracy": Metric(lambda p, b: 0 * p["w"] + 0.5 * b, higher_is_better=True)}
    problem = Problem(far, train=np.ones(3, np.float32), metrics=metrics)
    names = ["gaussian", "sam", "sam_ascent", "keskar", "adaptive_linf"]
    params = {"w": np.zeros((), np.float32)}
    found = measure_flatness(problem, params, measures=names, settings={"adaptive_linf": {"eta": 1.0}})
    assert found.status == "non-finite"
    for record in found.records:
        assert record["status"] == "non-finite", record["measure"]
        assert np.isnan(record["value"]), record["measure"]
        assert record["standard_error"] is record["interval"] is None
        assert record["metric_rises"] == {}
    text = str(found)
    assert "rise of accuracy" not in text
    assert "≥" not in text
    assert text.count("not a number") == len(names)
