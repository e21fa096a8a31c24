"""Positive rescalings: read off programs, brought to one scale, undone where they were planted."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_alignment_structure import (
    IMAGES,
    LABELS,
    Attention,
    Convolutions,
    Dense,
    Grouped,
    Loop,
    Residual,
    Split,
)

from landscape import Checkpoint, Problem, align
from landscape.alignment import structure_of
from landscape.alignment.rescaling import canonical, rescaled, rescalings_of
from landscape.errors import ConfigurationError
from landscape.trees import by_path, fill

X = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)
BOTH = ("permutation", "scale")


class Pooled(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.leaky_relu(nn.Conv(4, (3, 3))(x))
        x = nn.max_pool(nn.relu(nn.Conv(5, (3, 3))(x)), (2, 2), (2, 2))
        x = nn.avg_pool(nn.RMSNorm()(x), (2, 2), (2, 2))
        return nn.Dense(3)(x.reshape(x.shape[0], -1))


class Gated(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = x[:, 0, 0]
        return nn.Dense(3)(nn.silu(nn.Dense(5)(x)) * nn.Dense(5)(x))


class Squared(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.Dense(3)(jnp.square(nn.relu(nn.Dense(5)(x[:, 0, 0]))))


class Clipped(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.Dense(3)(nn.relu6(nn.Dense(5)(nn.gelu(nn.Dense(4)(x[:, 0, 0])))))


def _of(kind: type[nn.Module]) -> tuple[Any, Any]:
    module = kind()
    found = module.init(jax.random.key(0), IMAGES)["params"]
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda x: np.asarray(x) + 0.1 * rng.normal(size=x.shape).astype(np.float32), found)

    def loss(params: Any, x: Any, y: Any) -> Any:
        logits = jax.nn.log_softmax(module.apply({"params": params}, x))
        return -jnp.take_along_axis(logits, y[:, None], axis=1)[:, 0]

    return loss, params


# Attention: queries against keys and values against outputs, both over heads and inside them, and the scales
# of its two normalisations against what reads them. A norm over units ties what it norms, so Pooled has two.
COUNTS = {
    Dense: 2, Convolutions: 1, Grouped: 3, Residual: 4, Attention: 6, Loop: 0, Split: 0,
    Pooled: 2, Gated: 1, Squared: 1, Clipped: 0,
}  # fmt: skip


@pytest.mark.parametrize("kind", COUNTS, ids=lambda kind: kind.__name__)
def test_every_rescaling_that_is_found_leaves_the_loss_as_it_is(kind: type[nn.Module]) -> None:
    loss, params = _of(kind)
    structure = structure_of(loss, params, IMAGES, LABELS)
    found = rescalings_of(structure, loss, params, IMAGES, LABELS)
    assert len(found) == COUNTS[kind]
    rng = np.random.default_rng(2)
    logs = {name: rng.normal(size=one.units.size) for name, one in found.items()}
    changed = fill(params, rescaled(structure, found, logs, by_path(params)))
    before, after = (np.asarray(jax.jit(loss)(p, IMAGES, LABELS)) for p in (params, changed))
    np.testing.assert_allclose(after, before, rtol=2e-5, atol=1e-6)


def test_degrees_of_a_squared_rectifier_are_those_of_its_formula() -> None:
    loss, params = _of(Squared)
    structure = structure_of(loss, params, IMAGES, LABELS)
    (found,) = rescalings_of(structure, loss, params, IMAGES, LABELS).values()
    bias = found.degrees["Dense_1/bias", 0]  # flax names the outer layer first
    assert found.degrees["Dense_1/kernel", 1] == bias
    assert found.degrees["Dense_0/kernel", 0] == -2 * bias


def test_running_statistics_keep_their_scale() -> None:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = nn.Dense(4)(x[:, 0, 0])
            x = nn.BatchNorm(use_running_average=True)(x)
            return nn.Dense(3)(nn.relu(x))

    variables = Net().init(jax.random.key(0), IMAGES)
    point = (variables["params"], variables["batch_stats"])

    def loss(point: Any, x: Any, y: Any) -> Any:
        return Net().apply({"params": point[0], "batch_stats": point[1]}, x).sum(1) - y

    structure = structure_of(loss, point, IMAGES, LABELS)
    (found,) = rescalings_of(structure, loss, point, IMAGES, LABELS, held="[1]").values()
    assert not any(path.startswith("[1]") or "Dense_0" in path for path, _ in found.degrees)
    assert {path for path, _ in found.degrees} == {
        "[0]/BatchNorm_0/scale", "[0]/BatchNorm_0/bias", "[0]/Dense_1/kernel"
    }  # fmt: skip


def _two_layers(params: Any, batch: Any) -> Any:
    hidden = jnp.maximum(batch @ params["in"] + params["bias"], 0)
    return ((jnp.maximum(hidden @ params["mid"], 0) @ params["out"])[:, 0] - batch[:, 0]) ** 2


def _weights(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {"in": (5, 8), "bias": (8,), "mid": (8, 7), "out": (7, 1)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def _changed(a: dict[str, np.ndarray], seed: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Return a network with permuted and rescaled units, and both factors in its own order."""
    rng = np.random.default_rng([seed, 7])
    first, second = rng.permutation(8), rng.permutation(7)
    s, t = (np.exp(rng.uniform(-1.5, 1.5, n)).astype(np.float32) for n in (8, 7))
    b = {
        "in": a["in"][:, first] * s,
        "bias": a["bias"][first] * s,
        "mid": a["mid"][first][:, second] / s[:, None] * t,
        "out": a["out"][second] / t[:, None],
    }
    return b, s[np.argsort(first)], t[np.argsort(second)]


@pytest.mark.parametrize("method", ["weights", "activations"])
@pytest.mark.parametrize("seed", range(4))
def test_planted_rescalings_and_permutations_are_recovered(method: str, seed: int) -> None:
    problem, a = Problem(_two_layers, train=X), _weights(seed)
    b, s, t = _changed(a, seed)
    found = align(problem, a, b, method=method, symmetry=BOTH)
    for name, leaf in a.items():
        np.testing.assert_allclose(found.params[name], leaf, rtol=3e-6, atol=1e-7)
    assert found.equivalence_error < 1e-5
    assert found.symmetry == BOTH
    np.testing.assert_allclose(found.scales["bias[0]"], 1 / s, rtol=1e-5)
    np.testing.assert_allclose(found.scales["mid[1]"], 1 / t, rtol=1e-5)


def test_the_canonical_scale_is_one_for_all_rescaled_copies_and_balances_both_sides() -> None:
    a = {name: leaf.astype(np.float64) for name, leaf in _weights(3).items()}
    structure = structure_of(_two_layers, a, X[:2])
    found = rescalings_of(structure, _two_layers, a, X[:2])
    rng = np.random.default_rng(0)
    logs = {name: rng.normal(size=one.units.size) for name, one in found.items()}
    b = rescaled(structure, found, logs, a)
    first, second = (rescaled(structure, found, canonical(structure, found, x), x) for x in (a, b))
    for name, leaf in first.items():
        np.testing.assert_allclose(second[name], leaf, rtol=1e-8)
    came = np.square(first["in"]).sum(0) + np.square(first["bias"])
    np.testing.assert_allclose(came, np.square(first["mid"]).sum(1), rtol=1e-8)
    np.testing.assert_allclose(np.square(first["mid"]).sum(0), np.square(first["out"]).sum(1), rtol=1e-8)


def test_a_stream_that_meets_itself_in_one_matrix_is_balanced_too() -> None:
    def loss(params: Any, batch: Any) -> Any:
        x = batch @ params["in"]
        x = jnp.maximum(x @ params["square"], 0) + x
        return (x @ params["out"]) ** 2

    rng = np.random.default_rng(5)
    a = {"in": rng.normal(size=(5, 6)), "square": rng.normal(size=(6, 6)), "out": rng.normal(size=6)}
    structure = structure_of(loss, a, X[:2])
    found = rescalings_of(structure, loss, a, X[:2])
    (one,) = found.values()
    assert one.degrees["square", 0] == -one.degrees["square", 1]
    logs = {name: rng.normal(size=6) for name in found}
    b = rescaled(structure, found, logs, a)
    first, second = (rescaled(structure, found, canonical(structure, found, x), x) for x in (a, b))
    for name, leaf in first.items():
        np.testing.assert_allclose(second[name], leaf, rtol=1e-7)


def test_a_dead_unit_keeps_its_scale() -> None:
    problem, a = Problem(_two_layers, train=X), _weights(1)
    a["in"][:, 2], a["bias"][2] = 0, 0
    found = align(problem, a, a, symmetry=BOTH)
    assert all(np.all(values == 1) for values in found.scales.values())
    np.testing.assert_array_equal(found.params["mid"], a["mid"])


def test_a_smooth_network_has_no_scale_and_rescaling_alone_moves_no_unit() -> None:
    def smooth(params: Any, batch: Any) -> Any:
        return (jnp.tanh(batch @ params["w"]) @ params["v"]) ** 2

    rng = np.random.default_rng(0)
    params = {"w": rng.normal(size=(5, 4)).astype(np.float32), "v": rng.normal(size=4).astype(np.float32)}
    found = align(Problem(smooth, train=X), params, params, symmetry="scale")
    assert not found.scales
    assert "no unit of this network can be rescaled" in found.warnings[-1]
    a = _weights(2)
    b = {**a, "in": 2 * a["in"], "bias": 2 * a["bias"], "mid": a["mid"] / 2}
    alone = align(Problem(_two_layers, train=X), a, b, symmetry="scale")
    assert set(alone.moved.values()) == {0.0}
    np.testing.assert_allclose(alone.params["in"], a["in"], rtol=1e-6)


def test_deviations_and_moments_go_with_the_scale_as_their_weights_say() -> None:
    problem, a = Problem(_two_layers, train=X), _weights(6)
    b, _, _ = _changed(a, 6)
    ones = {name: np.ones_like(leaf) for name, leaf in b.items()}
    mask = {name: leaf > 0 for name, leaf in b.items()}
    given = Checkpoint(
        params={name: np.where(mask[name], leaf, 0) for name, leaf in b.items()},
        std={name: mask[name].astype(np.float32) for name in b},
        init=b,
        mask=mask,
        state={"second_moment": ones, "adam": [{"mu": ones, "count": np.array(3)}]},
    )
    found = align(problem, a, given, symmetry=BOTH).checkpoint
    assert found is not None
    for name, std in found.std.items():
        here = found.mask[name]
        np.testing.assert_array_equal(here, found.params[name] > 0)
        np.testing.assert_array_equal(here, std > 0)
        np.testing.assert_allclose(found.state["second_moment"][name][here], std[here] ** -2.0, rtol=1e-5)
        np.testing.assert_allclose(found.state["adam"][0]["mu"][name][here], 1 / std[here], rtol=1e-5)
        np.testing.assert_allclose(np.abs(found.init[name][here]), found.params[name][here], rtol=1e-6)
    assert not np.allclose(found.std["mid"][found.mask["mid"]], 1)
    assert found.state["adam"][0]["count"] == 3


def test_a_state_of_which_nothing_is_known_is_left_out_and_said_so() -> None:
    problem, a = Problem(_two_layers, train=X), _weights(6)
    b, _, _ = _changed(a, 6)
    odd = Checkpoint(params=b, state={"whatever": b})
    kept = align(problem, a, Checkpoint(params=a, state={"whatever": a}), symmetry=BOTH)
    assert kept.checkpoint is not None
    assert kept.checkpoint.state is not None  # nothing was rescaled
    found = align(problem, a, odd, symmetry=BOTH)
    assert found.checkpoint is not None
    assert found.checkpoint.state is None
    assert any("'whatever'" in text for text in found.warnings)
    flat = align(problem, a, Checkpoint(params=b, state={"vector": np.zeros(3)}))
    assert any("left as it was" in text for text in flat.warnings)


def test_an_alignment_with_scales_comes_back_from_disk(tmp_path: Any) -> None:
    from landscape import load_result

    problem, a = Problem(_two_layers, train=X), _weights(8)
    found = align(problem, a, _changed(a, 8)[0], symmetry=BOTH)
    found.save(tmp_path / "a.h5")
    assert load_result(tmp_path / "a.h5").to_dict() == found.to_dict()
    assert "rescaled" in str(found)


@pytest.mark.faults
def test_a_class_that_does_not_exist_or_cannot_be_read_is_refused() -> None:
    problem, a = Problem(_two_layers, train=X), _weights(0)
    with pytest.raises(ConfigurationError, match="symmetry"):
        align(problem, a, a, symmetry="mirror")
    with pytest.raises(ConfigurationError, match="symmetry"):
        align(problem, a, a, symmetry=())
    with pytest.raises(ConfigurationError, match="scale"):
        align(problem, a, a, symmetry=BOTH, structure={"h": [("in", 1), ("bias", 0), ("mid", 0)]})
