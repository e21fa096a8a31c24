"""What flatness takes is said before it begins, and its bar moves by the work done."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from flatness_samples import F64, quadratic, relu_network, relu_problem

from landscape import Checkpoint, flatness_table, measure_flatness
from landscape.flatness import MEASURES, cost_of, flatness_cost
from landscape.network import Cost, Estimate, Pace, duration_text


class Told:
    """A progress that keeps what it was told."""

    def __init__(self) -> None:
        self.label, self.total = "", 0
        self.steps: list[tuple[int, dict[str, float | str]]] = []

    def start(self, label: str, total: int | None = None) -> None:
        self.label, self.total = label, total or 0

    def advance(self, n: int = 1, **fields: float | str) -> None:
        self.steps.append((n, fields))

    def note(self, text: str) -> None:
        pass

    def stop(self) -> None:
        pass


@pytest.mark.faults
def test_row_39_the_estimate_stands_before_the_bar() -> None:
    told = Told()
    flatness_table(relu_problem(), [relu_network(), relu_network(seed=1)], measures="quick", progress=told)
    assert told.label.startswith("flatness, about ")
    assert sum(n for n, _ in told.steps) == told.total > 0


def test_the_bar_of_one_network_moves_by_products_and_names_the_measure() -> None:
    told = Told()
    measure_flatness(relu_problem(), relu_network(), measures=["relative_flatness", "trace"], progress=told)
    assert sum(n for n, _ in told.steps) == told.total
    steps = [n for n, fields in told.steps if fields["measure"] == "relative flatness"]
    assert len(steps) >= 64  # a step per product
    assert {fields["measure"] for _, fields in told.steps} == {"relative flatness", "trace"}


@pytest.mark.parametrize("name", [name for name in MEASURES if not cost_of(name).products])
def test_the_stated_cost_is_what_is_spent(name: str) -> None:
    params: Any = relu_network()
    if name == "search":
        params = Checkpoint(params=params, std=jax.tree.map(np.ones_like, params))
    found = measure_flatness(relu_problem(), params, measures=[name])
    cost = cost_of(name, {"dim": found.networks[0]["dim"]})
    spent = found.stats["num_evaluations"] - 1  # the network itself is evaluated once
    if cost.stops:
        assert spent == pytest.approx(cost.passes + cost.gradients, rel=0.7), name
    else:
        assert spent == cost.passes + cost.gradients, name


def test_settings_change_the_cost() -> None:
    problem, params = relu_problem(), relu_network()
    found = flatness_cost(
        problem,
        [params, params],
        measures=["gaussian", "sam_ascent", "local_entropy", "trace", "mean_eigenvalue"],
        radii={"gaussian": [0.1, 0.2]},
        draws=5,
        settings={"sam_ascent": {"steps": 3, "starts": 1}, "trace": {"relative_error": 0.1}},
    )
    assert found.parts["gaussian"].passes == 2 * 5 * 2
    assert found.parts["sam_ascent"].gradients == 4
    assert found.parts["trace"].products < cost_of("trace").products
    assert found.parts["mean_eigenvalue"].products == 0  # the trace has been computed
    assert found.networks == 2
    assert found.seconds == pytest.approx(2 * sum(map(found.pace.seconds, found.parts.values())))


@pytest.mark.faults
def test_row_40_memory_that_grows_with_the_network_is_stated_beforehand() -> None:
    pace = Pace(forward=1.0, gradient=3.0, product=9.0, measured=2, vector_bytes=4 * 25_000_000)
    parts = {"keskar_subspace": cost_of("keskar_subspace"), "sam": cost_of("sam")}
    found = Estimate(name="flatness", parts=parts, networks=1, pace=pace)
    assert found.memory == 104 * 100_000_000  # 100 rows of the basis, and four vectors
    assert "9.69 GiB of vectors" in found.label
    assert "9.69 GiB of vectors" in str(found)


def test_what_a_problem_does_not_allow_is_not_in_the_estimate_and_is_one_line_of_the_table() -> None:
    problem, params, _, _ = quadratic()
    assert "average_normalised" not in flatness_cost(problem, [params], measures="quick").parts
    found = measure_flatness(problem, params, measures="all", draws=2, **F64)
    [line] = [text for text in found.warnings if "left out" in text]
    assert "\n" not in line
    for wanted in ("Problem(outputs=Outputs(model, loss))", "Problem(metrics=", "Problem(features="):
        assert line.count(wanted) == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.001 s"), (0.26, "0.3 s"), (16.2, "16 s"), (89, "89 s"), (200, "3.3 min"), (9000, "2.5 h")],
)
def test_durations_are_told_in_the_unit_that_a_reader_would_take(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_a_cost_is_told_in_its_own_units() -> None:
    assert str(Cost(passes=1, gradients=1000)) == "1 pass, 1,000 gradients"
    assert str(Cost(products=40, stops=True)) == "about 40 products"
    assert str(Cost()) == "nothing more"
    assert (Cost(passes=3) + Cost(gradients=1, products=1)).in_gradients == 1 + 1 + 3
