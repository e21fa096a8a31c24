"""Networks brought to one another: planted permutations, what travels along, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import alignment as planting
from landscape import Checkpoint, Problem, align, load_result, loss_barrier
from landscape.alignment import structure_of
from landscape.alignment.matching import match_weights
from landscape.errors import ArchitectureMismatchError, ConfigurationError, InputError
from landscape.trees import by_path, fill

X = np.random.default_rng(0).normal(size=(48, 6)).astype(np.float32)
Y = np.sin(X.sum(axis=1))


def _plain(params: Any, batch: Any) -> Any:
    inputs, targets = batch
    hidden = jnp.tanh(inputs @ params["in"]["kernel"] + params["in"]["bias"])
    hidden = jnp.maximum(hidden @ params["mid"]["kernel"], 0)
    return ((hidden @ params["out"]["kernel"])[:, 0] - targets) ** 2


def _residual(params: Any, batch: Any) -> Any:
    inputs, targets = batch
    x = inputs @ params["in"]["kernel"]
    x = x + jnp.tanh(x @ params["mid"]["kernel"]) @ params["back"]["kernel"]
    return ((x @ params["out"]["kernel"])[:, 0] - targets) ** 2


def _params(kind: str, width: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)

    params = {"in": {"kernel": normal(6, width)}, "mid": {"kernel": normal(width, width + 1)}}
    if kind == "plain":
        params["in"]["bias"] = normal(width)
        return {**params, "out": {"kernel": normal(width + 1, 1)}}
    return {**params, "back": {"kernel": normal(width + 1, width)}, "out": {"kernel": normal(width, 1)}}


LOSSES = {"plain": _plain, "residual": _residual}


def _planted(kind: str, width: int, seed: int) -> tuple[Problem, Any, Any]:
    problem = Problem(LOSSES[kind], train=(X, Y))
    params = _params(kind, width, seed)
    structure = structure_of(LOSSES[kind], params, (X[:2], Y[:2]))
    rng = np.random.default_rng([seed, 1])
    permutations = {name: rng.permutation(units.size) for name, units in structure.groups.items()}
    return problem, params, fill(params, structure.apply(by_path(params), permutations))


@pytest.mark.parametrize("method", ["weights", "activations"])
@pytest.mark.parametrize(("kind", "width"), [("plain", 3), ("plain", 64), ("residual", 5), ("residual", 256)])
def test_a_planted_permutation_is_recovered_exactly(kind: str, width: int, method: str) -> None:
    problem, a, b = _planted(kind, width, seed=width)
    found = align(problem, a, b, method=method)
    for path, leaf in by_path(found.params).items():
        np.testing.assert_array_equal(leaf, by_path(a)[path])
    assert found.distance_after == 0
    assert found.equivalence_error < 1e-5


@pytest.mark.parametrize("kind", planting.LOSSES)
@pytest.mark.parametrize("width", [3, 6, 16, 256])
def test_planted_permutations_of_the_benchmark_are_recovered_by_activations(kind: str, width: int) -> None:
    for seed in (0, 1):
        problem, a, b = planting.planted(kind, width, seed)
        assert not planting.same(b, a) or width == 3  # of three units, one permutation in six moves none
        assert planting.same(planting.by_activations(problem, a, b), a)


def test_identical_and_dead_units_are_recovered_up_to_their_own_order() -> None:
    problem, a, _ = planting.planted("plain", 6, 3)
    a["mid"][:, 1] = a["mid"][:, 0]
    a["out"][1] = a["out"][0]  # two identical units
    a["mid"][:, 2:4], a["out"][2] = 0, 0.5  # two dead ones that differ in what they would give
    order = np.array([3, 5, 0, 2, 6, 1, 4])
    b = {**a, "mid": a["mid"][:, order], "out": a["out"][order]}
    found = align(problem, a, b, method="activations").params
    np.testing.assert_array_equal(found["mid"], a["mid"])
    np.testing.assert_array_equal(np.sort(found["out"][2:4], axis=0), np.sort(a["out"][2:4], axis=0))
    np.testing.assert_array_equal(found["out"][[0, 1, 4, 5, 6]], a["out"][[0, 1, 4, 5, 6]])


def test_planted_permutations_are_recovered_every_time_by_activations_and_mostly_by_weights_alone() -> None:
    exact, alone = 0, 0
    for seed in range(12):
        problem, a, b = _planted("residual", 8, seed)
        found = align(problem, a, b, method="activations")
        exact += found.distance_after == 0
        structure = structure_of(_residual, b, (X[:2], Y[:2]))
        matched = match_weights(
            structure, by_path(a), by_path(b), rng=np.random.default_rng(seed), restarts=0
        )
        moved = structure.apply(by_path(b), matched.permutations)
        alone += all(np.array_equal(moved[path], leaf) for path, leaf in by_path(a).items())
    assert exact == 12
    assert alone >= 1  # one start finds a local optimum; restarts and activations are there for the rest


def test_the_barrier_between_a_network_and_its_permuted_self_vanishes() -> None:
    problem, a, b = _planted("plain", 16, seed=3)
    options: dict[str, Any] = {"num_points": 5, "num_resamples": 20, "refine": False}
    assert not loss_barrier(problem, a, b, **options).identical
    assert loss_barrier(problem, a, align(problem, a, b).params, **options).identical


def test_masks_std_and_optimiser_state_travel_with_the_parameters() -> None:
    problem, a, b = _planted("plain", 6, seed=4)
    params = {name: {key: leaf.copy() for key, leaf in layer.items()} for name, layer in b.items()}
    params["mid"]["kernel"][:, 2] = 0
    mask = {name: {key: leaf != 0 for key, leaf in layer.items()} for name, layer in params.items()}
    tagged = Checkpoint(
        params=params,
        mask=mask,
        std={name: {key: np.abs(leaf) for key, leaf in layer.items()} for name, layer in params.items()},
        state={"momentum": params, "step": np.array(3)},
    )
    found = align(problem, a, tagged).checkpoint
    assert found is not None
    for name, layer in found.params.items():
        for key, leaf in layer.items():
            np.testing.assert_array_equal(found.mask[name][key], leaf != 0)
            np.testing.assert_array_equal(found.std[name][key], np.abs(leaf))
            np.testing.assert_array_equal(found.state["momentum"][name][key], leaf)
    assert found.state["step"] == 3


def test_a_network_brought_to_itself_stays_as_it_is() -> None:
    problem, a, _ = _planted("residual", 7, seed=5)
    for method in ("weights", "activations"):
        found = align(problem, a, a, method=method)
        assert set(found.moved.values()) == {0.0}


def test_an_alignment_never_lowers_the_similarity_of_the_weights() -> None:
    problem, a, _ = _planted("plain", 9, seed=6)
    found = align(problem, a, _params("plain", 9, 77))
    assert found.objective_after >= found.objective_before
    assert found.distance_after <= found.distance_before


def test_an_alignment_comes_back_from_disk(tmp_path: Path) -> None:
    problem, a, b = _planted("plain", 4, seed=8)
    found = align(problem, a, b)
    found.save(tmp_path / "a.h5")
    again = load_result(tmp_path / "a.h5")
    assert again.to_dict() == found.to_dict()
    np.testing.assert_array_equal(again.params["in"]["kernel"], found.params["in"]["kernel"])


@pytest.mark.faults
def test_what_cannot_be_aligned_is_refused() -> None:
    problem, a, b = _planted("plain", 4, seed=9)
    with pytest.raises(ArchitectureMismatchError):
        align(problem, a, _params("plain", 5, 0))
    with pytest.raises(ConfigurationError, match="method"):
        align(problem, a, b, method="magic")
    with pytest.raises(InputError, match="changes the loss"):
        align(problem, a, b, structure={"h": [("in/kernel", 1)]})
    with pytest.raises(ConfigurationError, match="read off the program"):
        align(problem, a, b, method="activations", structure={"h": [("in/kernel", 1)]})


def test_a_layer_of_one_unit_has_nothing_to_permute() -> None:
    problem = Problem(lambda p, batch: (jnp.tanh(batch @ p["w"]) @ p["v"]) ** 2, train=X)
    one = {"w": np.ones((6, 1), np.float32), "v": np.ones(1, np.float32)}
    found = align(problem, one, {"w": 2 * one["w"], "v": one["v"]})
    assert not found.permutations
    assert "no unit" in found.warnings[0]


def test_values_alone_are_enough() -> None:
    problem = Problem(lambda p, batch: jnp.floor(jnp.tanh(batch @ p["w"]) @ p["v"]), train=X)
    rng = np.random.default_rng(0)
    a = {"w": rng.normal(size=(6, 5)).astype(np.float32), "v": rng.normal(size=5).astype(np.float32)}
    b = {"w": a["w"][:, ::-1].copy(), "v": a["v"][::-1].copy()}
    np.testing.assert_array_equal(align(problem, a, b).params["w"], a["w"])


def test_any_tree_is_aligned_and_comes_back_in_its_own_structure() -> None:
    import equinox as eqx
    import jax
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self, seed: int) -> None:
            rngs = nnx.Rngs(seed)
            self.first, self.second = nnx.Linear(6, 5, rngs=rngs), nnx.Linear(5, 1, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            return self.second(nnx.relu(self.first(x)))[:, 0]

    graph, state = nnx.split(Net(0))
    problem = Problem(lambda p, batch: (nnx.merge(graph, p)(batch[0]) - batch[1]) ** 2, train=(X, Y))
    found = align(problem, state, nnx.split(Net(1))[1])
    assert isinstance(found.params, nnx.State)
    assert found.permutations

    nets = [eqx.nn.MLP(6, "scalar", 5, 1, key=jax.random.key(seed)) for seed in (0, 1)]
    loss = Problem(lambda net, batch: (jax.vmap(net)(batch[0]) - batch[1]) ** 2, train=(X, Y))
    for method in ("weights", "activations"):
        again = align(loss, *nets, method=method)
        assert isinstance(again.params, eqx.nn.MLP)
        assert again.equivalence_error < 1e-5
        assert [len(p) for p in again.permutations.values()] == [5]
