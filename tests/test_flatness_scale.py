"""Which measures survive a rescaling that leaves the function of a network unchanged, measure by measure."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from flatness_samples import F64, relu_network, relu_problem, rescaled

from landscape import Checkpoint, measure_flatness
from landscape.flatness import MEASURES, invariances

NETWORK = relu_network(bias=True)
STD = jax.tree.map(lambda x: np.full(x.shape, 0.1), NETWORK)


def value(measure: str, network: dict[str, Any]) -> float:
    given = Checkpoint(params=network, std=STD)
    found = measure_flatness(relu_problem(), given, measures=[measure], **F64)
    record = found.records[0]
    assert record["status"] == "ok", found.warnings
    return float(record["value"])


def test_the_networks_are_one_function() -> None:
    problem = relu_problem()
    losses = [
        problem.evaluate(network, dtype=np.float64)["loss"]
        for network in (NETWORK, rescaled(NETWORK, 3.0), rescaled(NETWORK, 5.0, unit=1))
    ]
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_measure_survives_exactly_the_rescalings_that_the_catalogue_says(measure: str) -> None:
    entry = MEASURES[measure]
    # Noise of 0.001 is part of the magnitude-aware variant: it shows where weights are no larger.
    layer = 1e-4 if measure == "pac_bayes_magnitude" else 3.0
    unit = 1e-4 if measure == "pac_bayes_magnitude" else 5.0
    base = value(measure, NETWORK)
    cases = [
        (entry.layer_wise, rescaled(NETWORK, layer)),
        (entry.neuron_wise, rescaled(NETWORK, unit, unit=1)),
    ]
    for survives, network in cases:
        other = value(measure, network)
        if survives:
            assert other == pytest.approx(base, rel=1e-6)
        else:
            assert abs(other - base) > 1e-3 * abs(base)


def test_the_table_of_invariances_lists_every_measure_and_a_counterpart_that_is_more_invariant() -> None:
    assert [row["measure"] for row in invariances()] == list(MEASURES)
    for entry in MEASURES.values():
        if entry.counterpart is not None:
            other = MEASURES[entry.counterpart]
            assert other.layer_wise >= entry.layer_wise
            assert other.neuron_wise >= entry.neuron_wise
