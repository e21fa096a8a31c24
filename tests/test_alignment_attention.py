"""Invertible maps inside heads: found where they are symmetries, planted ones recovered, nowhere else."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import Checkpoint, Problem, align, align_all, load_result, loss_barrier
from landscape.errors import ConfigurationError, InputError

X = np.random.default_rng(0).normal(size=(24, 5, 4)).astype(np.float32)
ALL = ("permutation", "scale", "attention")


class Transformer(nn.Module):
    """One block on a stream of 6, two heads of 3, a feed-forward layer of 7."""

    heads: int = 2

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Dense(6, name="embed")(x)
        y = nn.LayerNorm(name="norm")(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=self.heads, qkv_features=6, name="attention")(y)
        x = x + nn.Dense(6, name="down")(nn.relu(nn.Dense(7, name="up")(x)))
        return nn.Dense(1, name="out")(x.mean(1))[:, 0]


def _problem(heads: int = 2) -> tuple[Problem, dict[str, Any]]:
    net = Transformer(heads)
    params = net.init(jax.random.key(0), X)["params"]
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda x: np.asarray(x) + 0.2 * rng.normal(size=x.shape).astype(np.float32), params)
    return Problem(
        lambda p, batch: (net.apply({"params": p}, batch) - batch.sum((1, 2))) ** 2, train=X
    ), params


def _mixed(params: Any, seed: int, *, heads: int = 2) -> Any:
    """Return the same network with heads swapped and mixed inside, and units of the feed-forward permuted."""
    rng = np.random.default_rng(seed)
    size = 6 // heads
    order, units = rng.permutation(heads), rng.permutation(7)
    maps = {kind: rng.normal(size=(heads, size, size)) + 2 * np.eye(size) for kind in ("qk", "vo")}
    inverse = {kind: np.swapaxes(np.linalg.inv(m), 1, 2) for kind, m in maps.items()}
    sides = {"query": maps["qk"], "key": inverse["qk"], "value": maps["vo"]}
    block = {}
    for name, map_ in sides.items():
        kernel, bias = params["attention"][name]["kernel"][:, order], params["attention"][name]["bias"][order]
        block[name] = {
            "kernel": np.einsum("hij,dhj->dhi", map_, kernel).astype(np.float32),
            "bias": np.einsum("hij,hj->hi", map_, bias).astype(np.float32),
        }
    out = params["attention"]["out"]
    kernel = np.einsum("hij,hjd->hid", inverse["vo"], out["kernel"][order]).astype(np.float32)
    block["out"] = {"kernel": kernel, "bias": out["bias"]}
    up, down = params["up"], params["down"]
    return {
        **params,
        "attention": block,
        "up": {"kernel": up["kernel"][:, units], "bias": up["bias"][units]},
        "down": {"kernel": down["kernel"][units], "bias": down["bias"]},
    }


def _close(found: Any, wanted: Any) -> None:
    for (path, x), (_, y) in zip(
        jax.tree_util.tree_leaves_with_path(found), jax.tree_util.tree_leaves_with_path(wanted), strict=True
    ):
        np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-5, err_msg=str(path))


@pytest.mark.parametrize("method", ["weights", "activations"])
@pytest.mark.parametrize("symmetry", [("permutation", "attention"), ALL])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_maps_inside_heads_are_recovered(method: str, symmetry: Any, seed: int) -> None:
    problem, a = _problem()
    found = align(problem, a, _mixed(a, seed), method=method, symmetry=symmetry)
    _close(found.params, a)
    assert found.equivalence_error < 1e-5
    assert sorted(maps.shape for maps in found.maps.values()) == [(2, 3, 3), (2, 3, 3)]
    assert found.symmetry == symmetry


def test_permutations_alone_do_not_find_them() -> None:
    problem, a = _problem()
    b = _mixed(a, 0)
    without = align(problem, a, b)
    within = align(problem, a, b, symmetry=("permutation", "attention"))
    assert within.distance_after < 1e-3 < 0.1 < without.distance_after


def test_three_copies_come_to_one_form_and_no_barrier_is_left() -> None:
    problem, a = _problem()
    networks = [a, _mixed(a, 4), _mixed(a, 5)]
    for one in align_all(problem, networks, symmetry=ALL, names=["a", "b", "c"]):
        _close(one.params, a)
    options: dict[str, Any] = {"num_points": 5, "num_resamples": 20, "refine": False}
    found = loss_barrier(problem, *networks[:2], align="weights", symmetry=ALL, **options)
    assert found.aligned is not None
    assert found.aligned["before"]["barrier_above_chord"] > 1e-2
    assert found.barrier_above_chord is not None
    assert found.barrier_above_chord < 1e-5


def test_a_lowered_barrier_is_that_of_heads_turned_to_one_another() -> None:
    problem, a = _problem()
    found = align(problem, a, _mixed(a, 4), method="barrier", symmetry=ALL, steps=2)
    assert found.barrier_before is not None
    assert found.barrier_after is not None
    assert found.barrier_after < 1e-4 < found.barrier_before


def test_a_single_head_is_mapped_too() -> None:
    problem, a = _problem(heads=1)
    found = align(problem, a, _mixed(a, 3, heads=1), symmetry=("permutation", "attention"))
    _close(found.params, a)


def test_an_equal_network_is_left_as_it_is_to_the_bit() -> None:
    problem, a = _problem()
    found = align(problem, a, a, symmetry=ALL)
    assert found.distance_after == 0


def test_what_a_nonlinearity_looks_into_is_no_inner_space() -> None:
    def loss(params: Any, batch: Any) -> Any:
        hidden = jnp.einsum("nd,dhk->nhk", batch[:, 0], params["w"])
        return jnp.einsum("nhk,hk->n", jnp.maximum(hidden, 0), params["v"]) ** 2

    def linear(params: Any, batch: Any) -> Any:
        return jnp.einsum("nhk,hk->n", jnp.einsum("nd,dhk->nhk", batch[:, 0], params["w"]), params["v"]) ** 2

    rng = np.random.default_rng(0)
    params = {
        "w": rng.normal(size=(4, 2, 3)).astype(np.float32),
        "v": rng.normal(size=(2, 3)).astype(np.float32),
    }
    none = align(Problem(loss, train=X), params, params, symmetry="attention")
    assert not none.maps
    assert "no head" in none.warnings[-1]
    assert align(Problem(linear, train=X), params, params, symmetry="attention").maps


def test_what_travels_through_a_map_does_and_what_cannot_is_left_out_or_refused(tmp_path: Any) -> None:
    problem, a = _problem()
    b = _mixed(a, 1)
    given = Checkpoint(params=b, init=b, std=jax.tree.map(np.abs, b), state={"momentum": b})
    found = align(problem, a, given, symmetry=("permutation", "attention"))
    assert found.checkpoint is not None
    _close(found.checkpoint.init, a)
    assert found.checkpoint.std is None
    assert found.checkpoint.state is None
    assert any("left out" in text for text in found.warnings)
    found.save(tmp_path / "a.h5")
    assert load_result(tmp_path / "a.h5").to_dict() == found.to_dict()
    mask = jax.tree.map(lambda x: np.ones(x.shape, bool), b)
    mask["attention"]["query"]["kernel"][0, 0, 0] = False
    pruned = jax.tree.map(np.where, mask, b, jax.tree.map(np.zeros_like, b))
    with pytest.raises(InputError, match="attention/query/kernel: its mask"):
        align(problem, a, Checkpoint(params=pruned, mask=mask), symmetry=("permutation", "attention"))


@pytest.mark.faults
def test_a_stated_structure_has_no_heads() -> None:
    problem, a = _problem()
    with pytest.raises(ConfigurationError, match="attention"):
        align(problem, a, a, symmetry="attention", structure={"f": [("up/bias", 0)]})
