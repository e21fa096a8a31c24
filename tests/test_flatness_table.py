"""Tables of flatness: one program for many networks, settings, masks and spaces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_samples import cross_entropy
from flatness_samples import (
    F64,
    checkpoints,
    quadratic,
    relu_model,
    relu_network,
    relu_problem,
    values,
)

import landscape
from landscape import Checkpoint, Problem, Stream, flatness_table, load_result, measure_flatness
from landscape.compute import compile_seconds
from landscape.errors import ConfigurationError, NonFiniteError, ProblemError
from landscape.flatness import GROUPS, MEASURES, cost_of, measures_of
from landscape.flatness.request import check_settings, settable
from landscape.flatness.results import metric_rises

EXACT = [
    "keskar",
    "sam",
    "sam_ascent",
    "adaptive_l2",
    "adaptive_linf",
    "fisher_rao",
    "top_eigenvalue",
    "trace",
]


def test_every_measure_of_the_catalogue_is_measured_and_saved(tmp_path: Path) -> None:
    network = relu_network()
    std = jax.tree.map(lambda x: np.full(x.shape, 0.1), network)
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(30, 4)), rng.integers(0, 3, 30).astype(np.int32))
    problem = relu_problem(test=data)
    found = measure_flatness(problem, Checkpoint(params=network, std=std), measures="all", draws=4, **F64)
    assert [record["measure"] for record in found.records] == list(MEASURES) == list(found.measures)
    assert all(np.isfinite(record["value"]) for record in found.records)
    assert found.status == "ok", found.warnings
    assert {curve["measure"] for curve in found.curves} == {
        "gaussian",
        "gaussian_relative",
        "gaussian_filter",
        "search",
    }
    gap = problem.evaluate(network, "test", dtype=np.float64)["loss"] - found.networks[0]["loss"]
    assert found.networks[0]["gap"] == pytest.approx(gap)
    path = found.save(tmp_path / "flatness.h5")
    again = load_result(path)
    assert json.loads(again.to_json()) == json.loads(found.to_json())
    assert str(again) == str(found)


def test_a_single_measure_is_saved_and_read_again(tmp_path: Path) -> None:
    found = landscape.gaussian_robustness(relu_problem(), relu_network(), draws=4)
    again = load_result(found.save(tmp_path / "one.h5"))
    assert json.loads(again.to_json()) == json.loads(found.to_json())
    assert "gaussian" in str(again)


def test_a_measure_that_is_not_defined_is_an_answer_of_its_own_record() -> None:
    problem = Problem(
        lambda p, b: -5 * (b * p["w"]) ** 2,
        train=np.ones(4),
        metrics={"error": lambda p, b: 0 * b * p["w"]},
    )
    names = ["pac_bayes", "local_entropy_gaussian", "trace"]
    given = {"w": np.array(1.0)}
    found = measure_flatness(problem, given, measures=names, radii={"local_entropy_gaussian": 1.0}, **F64)
    assert [(r["value"], r["status"]) for r in found.records] == [
        (None, "not-found"),
        (None, "indefinite"),
        (-10.0, "ok"),
    ]
    assert found.status == "ok"
    assert len(found.warnings) == 2
    assert found.records[0]["details"]["value_at_most"] == pytest.approx(1 / (0.01 * 2**19) ** 2)
    assert "≤ 3.638e-08 (beyond what was tried)" in str(found)


def test_a_network_that_no_noise_leaves_alone_has_a_lower_bound_of_its_sharpness() -> None:
    problem = Problem(
        lambda p, b: (b * p["w"]) ** 2,
        train=np.ones(4),
        metrics={"error": lambda p, b: 1.0 * (b * p["w"] != 1.0)},
    )
    found = measure_flatness(problem, {"w": np.array(1.0)}, measures=["pac_bayes"], **F64)
    assert found.records[0]["value"] is None
    assert found.records[0]["details"]["value_at_least"] > 1e18


def test_the_rise_of_a_metric_at_the_radius_is_that_of_the_curve() -> None:
    found = measure_flatness(relu_problem(), relu_network(), measures=["gaussian"], draws=5)
    curve = found.curves[0]
    at = list(curve["radii"]).index(found.records[0]["radius"])
    rise = found.records[0]["metric_rises"]["accuracy"]
    assert rise == {
        "rise": curve["accuracy_rise"][at],
        "standard_error": curve["accuracy_rise_error"][at],
    }
    average = landscape.average_sharpness(relu_problem(), relu_network(), draws=5)  # of the same noise
    assert metric_rises(average.radius, average.details["curve"])["accuracy"] == pytest.approx(rise)
    assert "rise of accuracy" in str(found)
    assert found.config["higher_is_better"] == {"accuracy": True}


def test_settings_reach_the_function_that_measures(tmp_path: Path) -> None:
    problem, network = relu_problem(), relu_network()
    settings = {
        "gaussian": {"draws": 5},
        "sam": {"m": 10},
        "adaptive_l2": {"scale": "filter", "steps": 4, "starts": 1},
        "pac_bayes": {"target": 0.2},
        "local_entropy_gaussian": {"reference": 1e5},
    }
    found = measure_flatness(problem, network, measures=list(settings), settings=settings, **F64)
    given = {"problem": problem, "params": network, **F64}
    expected = {
        "gaussian": landscape.gaussian_robustness(**given, draws=5),
        "sam": landscape.sam_sharpness(**given, m=10),
        "adaptive_l2": landscape.adaptive_sharpness(**given, scale="filter", steps=4, starts=1),
        "pac_bayes": landscape.pac_bayes_flatness(**given, target=0.2),
        "local_entropy_gaussian": landscape.local_entropy(**given, reference=1e5, method="gaussian"),
    }
    assert values(found) == pytest.approx({name: one.value for name, one in expected.items()}, rel=1e-12)
    assert load_result(found.save(tmp_path / "a.h5")).config["settings"] == settings


def test_several_radii_are_the_curve_and_the_first_is_the_value() -> None:
    problem, network = relu_problem(), relu_network()
    radii = {"gaussian": [0.05, 0.01, 0.2]}
    found = measure_flatness(problem, network, measures=["gaussian"], radii=radii, draws=3, **F64)
    one = landscape.gaussian_robustness(problem, network, radius=0.05, draws=3, **F64)
    assert values(found)["gaussian"] == pytest.approx(one.value)
    assert found.curves[0]["radii"].tolist() == [0.01, 0.05, 0.2]


@pytest.mark.parametrize("name", MEASURES)
def test_the_keys_of_every_measure_have_defaults_that_are_taken(name: str) -> None:
    computes = {name: entry.compute for name, entry in MEASURES.items()}
    keys = {key: value for key, value in settable(name, computes).items() if key != "draws"}
    checked = check_settings({name: keys}, [name], computes)
    assert checked == {name: keys}
    assert not {"radius", "seed", "norm", "magnitude", "summary"} & set(keys)


def test_what_the_problem_does_not_allow_is_left_out_and_said() -> None:
    problem, params, _, _ = quadratic()
    found = measure_flatness(problem, params, measures="all", draws=2)
    left = set(MEASURES) - set(found.measures)
    assert left == {
        "search",
        "pac_bayes",
        "pac_bayes_magnitude",
        "pac_bayes_sharpness",
        "pac_bayes_sharpness_magnitude",
        "adaptive_l2_normalised",
        "fisher_rao_model",
        "average_normalised",
        "adaptive_normalised",
        "relative_flatness",
        "relative_flatness_normalised",
    }
    assert all(any(name in warning for warning in found.warnings) for name in left)


def test_no_value_depends_on_the_batch_size() -> None:
    network = relu_network()
    names = [name for name in MEASURES if name != "search"]
    found, whole = (
        measure_flatness(relu_problem(), network, measures=names, draws=3, batch_size=batch, **F64)
        for batch in (13, None)
    )
    for name, value in values(whole).items():
        # Where chains accept by a hair, rounding may decide: none does here.
        assert values(found)[name] == pytest.approx(value, rel=1e-7), name


def test_a_subset_is_the_problem_with_these_examples() -> None:
    network = relu_network()
    inputs, labels = (np.asarray(x) for x in relu_problem().head(1000))
    small = Problem(relu_problem().loss, train=(inputs[:25], labels[:25]))
    names = ["gaussian", "sam", "keskar", "trace"]
    found = measure_flatness(relu_problem(), network, measures=names, subset=25, draws=3, **F64)
    same = measure_flatness(small, network, measures=names, draws=3, **F64)
    assert values(found) == pytest.approx(values(same), rel=1e-9)


def test_streams_are_measured_as_arrays_are() -> None:
    network = relu_network()
    inputs, labels = (np.asarray(x) for x in relu_problem().head(1000))
    stream = Stream([(inputs[:23], labels[:23]), (inputs[23:], labels[23:])])
    problem = Problem(relu_problem().loss, train=stream)
    names = ["gaussian", "sam", "trace"]
    found = measure_flatness(problem, network, measures=names, draws=3, **F64)
    same = measure_flatness(relu_problem(), network, measures=names, draws=3, **F64)
    assert values(found) == pytest.approx(values(same), rel=1e-9)
    with pytest.raises(ProblemError, match="stream"):
        landscape.keskar_sharpness(problem, network)


def test_a_masked_network_is_measured_as_the_smaller_network_it_is() -> None:
    network = relu_network(bias=True)
    mask = jax.tree.map(lambda x: np.ones(x.shape, bool), network)
    mask["Dense_0"]["kernel"][:, 2] = False  # the third unit of the first layer is gone
    mask["Dense_0"]["bias"][2] = False
    mask["Dense_1"]["kernel"][2] = False
    ticket = jax.tree.map(np.multiply, network, mask)
    kept = [0, 1, 3, 4]
    small = {
        "Dense_0": {
            "kernel": ticket["Dense_0"]["kernel"][:, kept],
            "bias": ticket["Dense_0"]["bias"][kept],
        },
        "Dense_1": {
            "kernel": ticket["Dense_1"]["kernel"][kept],
            "bias": ticket["Dense_1"]["bias"],
        },
        "Dense_2": ticket["Dense_2"],
    }
    found = measure_flatness(relu_problem(), ticket, mask=mask, measures=EXACT, **F64)
    same = measure_flatness(relu_problem(), small, measures=EXACT, **F64)
    assert values(found) == pytest.approx(values(same), rel=1e-6)
    assert found.networks[0]["dim"] == same.networks[0]["dim"]


def test_a_masked_network_has_the_random_measures_of_the_smaller_network() -> None:
    """z-statistics below 4 where draws differ: false alarm 6e-5 each, 5e-4 for 32 chains; seeds fixed."""
    network = relu_network()
    mask = jax.tree.map(lambda x: np.ones(x.shape, bool), network)
    mask["Dense_0"]["kernel"][:, 2] = False
    mask["Dense_1"]["kernel"][2] = False
    ticket = jax.tree.map(np.multiply, network, mask)
    kept = [0, 1, 3, 4]
    small = {
        "Dense_0": {"kernel": ticket["Dense_0"]["kernel"][:, kept]},
        "Dense_1": {"kernel": ticket["Dense_1"]["kernel"][kept]},
        "Dense_2": ticket["Dense_2"],
    }
    same_draws = ["keskar_subspace", "relative_flatness", "pac_bayes_sharpness"]
    names = ["gaussian", "gaussian_relative", "gaussian_filter"]
    names += ["average_normalised", "pac_bayes", "pac_bayes_magnitude", "local_entropy"]
    names += ["local_entropy_gaussian", *same_draws]
    radii = {"local_entropy_gaussian": 300.0}
    settings = {"local_entropy": {"chains": 32}}
    options: dict[str, Any] = {"measures": names, "radii": radii, "settings": settings, "draws": 100, **F64}
    found = measure_flatness(relu_problem(), ticket, mask=mask, **options).records
    same = measure_flatness(relu_problem(), small, **options).records
    for one, other in zip(found, same, strict=True):
        assert one["status"] == other["status"] == "ok", one["measure"]
        if one["measure"] in same_draws or not one["standard_error"]:
            assert one["value"] == pytest.approx(other["value"], rel=1e-9), one["measure"]
        else:
            error = np.hypot(one["standard_error"], other["standard_error"])
            assert abs(one["value"] - other["value"]) < 4 * error, one["measure"]


def test_ticket_and_full_space_are_both_given_on_request() -> None:
    [_, ticket, _] = checkpoints(seeds=1)
    found = flatness_table(
        relu_problem(), [ticket], measures=["gaussian", "trace"], spaces=("ticket", "full"), draws=3
    )
    dims = {network["space"]: network["dim"] for network in found.networks}
    mask = np.concatenate([m.reshape(-1) for m in jax.tree.leaves(ticket.mask)])
    assert dims == {"ticket": int(mask.sum()), "full": mask.size}
    assert len(found.records) == 4
    full = measure_flatness(relu_problem(), ticket, mask=False, measures=["gaussian"], draws=3)
    assert full.records[0]["space"] == "full"
    assert full.records[0]["value"] in found.column("gaussian", "full")
    assert found.column("gaussian", "ticket") != found.column("gaussian", "full")


def test_networks_of_one_shape_share_their_programs() -> None:
    problem = relu_problem()
    given = checkpoints(seeds=2, levels=2)
    flatness_table(problem, given[:1], draws=2, measures=[m for m in MEASURES if m != "search"])
    with compile_seconds() as spent:
        flatness_table(problem, given[1:], draws=2, measures=[m for m in MEASURES if m != "search"])
    assert not spent


def test_the_gap_of_equal_splits_is_exactly_zero() -> None:
    train = jax.tree.map(np.asarray, relu_problem().arrays("train"))
    table = measure_flatness(relu_problem(test=train), relu_network(), measures=["gaussian"], draws=2)
    assert table.networks[0]["gap"] == 0.0


def test_a_seed_reproduces_every_number() -> None:
    runs = [
        measure_flatness(relu_problem(), relu_network(), draws=3, seed=seed).to_dict()["data"]
        for seed in (3, 3, 4)
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_precision_is_local_to_the_call() -> None:
    found = measure_flatness(relu_problem(), relu_network(), measures=["gaussian"], draws=2, **F64)
    assert found.provenance["dtype"] == "float64"
    assert jnp.zeros(1).dtype == np.float32


def test_a_temperature_divides_the_normalised_logits() -> None:
    problem, network = relu_problem(), relu_network()
    inputs, labels = (np.asarray(x) for x in problem.head(1000))

    def tempered(params: Any, batch: Any) -> jax.Array:
        logits = relu_model(params, batch)
        return cross_entropy(logits / (0.5 * jnp.linalg.norm(logits, axis=-1, keepdims=True)), batch)

    plain = Problem(tempered, train=(inputs, labels))
    found = landscape.adaptive_sharpness(problem, network, normalise=True, temperature=0.5, **F64)
    same = landscape.adaptive_sharpness(plain, network, **F64)
    assert found.value == pytest.approx(same.value, rel=1e-9)


def test_a_table_holds_what_every_network_alone_has() -> None:
    given = [relu_network(), relu_network(seed=1), relu_network(bias=True), relu_network(bias=True, seed=3)]
    measures = ["gaussian", "sam", "keskar", "pac_bayes", "trace", "local_entropy"]
    table = flatness_table(relu_problem(), given, measures=measures, spaces=("full",))
    alone = [
        record
        for number, network in enumerate(given)
        for record in flatness_table(
            relu_problem(), [network], measures=measures, spaces=("full",), names=[f"network {number + 1}"]
        ).records
    ]
    assert repr(table.records) == repr(alone)


def test_a_bad_network_among_good_ones_is_refused_as_ever() -> None:
    given = [relu_network(seed=seed) for seed in range(4)]
    given[2] = jax.tree.map(lambda x: np.full_like(x, np.nan), given[2])
    with pytest.raises(NonFiniteError):
        flatness_table(relu_problem(), given, measures=["gaussian"])


def test_average_case_sharpness_is_gaussian_robustness_and_is_computed_once() -> None:
    problem, network = relu_problem(), relu_network()
    asked = ["average", "gaussian", "average_adaptive", "gaussian_relative"]
    settings = {"average": {"draws": 3}}
    found = measure_flatness(
        problem, network, measures=asked, settings=settings, radii={"average": 0.1}, **F64
    )
    assert found.measures == ["gaussian", "gaussian_relative"]
    plain = landscape.average_sharpness(problem, network, radius=0.1, draws=3, **F64)
    relative = landscape.average_sharpness(problem, network, radius=0.25, adaptive=True, **F64)
    assert values(found) == {"gaussian": plain.value, "gaussian_relative": relative.value}
    assert len(MEASURES) == 26
    names = {row["measure"]: row["also_called"] for row in landscape.flatness.invariances()}
    assert {name: also for name, also in names.items() if also} == {
        "gaussian": ["average"],
        "gaussian_relative": ["average_adaptive"],
    }


def test_groups_hold_one_another_and_standard_costs_at_most_300_gradients() -> None:
    quick, standard, everything = (measures_of(group) for group in GROUPS)
    assert set(quick) < set(standard) < set(everything) == set(MEASURES)
    for price in (1 / 3, 1 / 2):  # of a forward pass, in gradients
        costs = [cost_of(name) for name in standard]
        assert sum(c.passes * price + c.gradients + 4 * c.products for c in costs) <= 300
    assert all(cost_of(name).in_gradients > 0 for name in MEASURES)


def test_the_default_is_standard_and_what_has_settings() -> None:
    problem, network = relu_problem(), relu_network()
    found = measure_flatness(problem, network, draws=2, radii={"keskar": 1e-4})
    assert found.config["measures"] == [*measures_of("standard"), "keskar"]
    named = measure_flatness(problem, network, draws=2, measures=["quick", "trace"])
    assert named.config["measures"] == [*measures_of("quick"), "trace"]
    with pytest.raises(ConfigurationError, match="a group"):
        measure_flatness(problem, network, measures="standart")


def test_many_networks_are_summarised_with_range_and_names() -> None:
    given = [relu_network(seed=seed) for seed in range(31)]
    names = [f"a/very/long/folder/of/networks/level-{i}.h5" for i in range(31)]
    found = flatness_table(relu_problem(), given, measures=["sam", "fisher_rao"], names=names)
    lines = str(found).splitlines()
    assert len(lines) <= 8
    ordered = sorted(zip(found.column("fisher_rao"), names, strict=True))
    [line] = [line for line in lines if "fisher_rao" in line]
    assert ordered[0][1][-20:] in line
    assert ordered[-1][1][-20:] in line
    assert "31" in lines[0]
    assert "-o" in lines[-1]
    few = flatness_table(relu_problem(), given[:2], measures=["sam", "fisher_rao"])
    assert len([line for line in str(few).splitlines() if "fisher_rao" in line]) == 2
