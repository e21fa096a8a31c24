"""Permutation structures read off programs: known groups are found, and leave the loss as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.alignment import structure_of
from landscape.alignment.axes import Units, cut, factors, fix, index_of, join, positions, units_of
from landscape.alignment.structure import given_structure
from landscape.errors import ConfigurationError
from landscape.trees import by_path, fill

IMAGES = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype(np.float32)
LABELS = np.array([0, 2, 1])


class Dense(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = x[:, 0, 0]
        for width in (7, 6):
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(3)(x)


class Convolutions(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.max_pool(nn.relu(nn.Conv(4, (3, 3))(x)), (2, 2), (2, 2))
        x = nn.Conv(6, (3, 3), strides=(2, 2))(x)
        x = nn.gelu(nn.LayerNorm()(x)).reshape(x.shape[0], -1)
        return nn.Dense(3)(nn.tanh(nn.Dense(5)(x)))


class Grouped(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.relu(nn.Conv(4, (1, 1))(x))
        x = nn.relu(nn.Conv(8, (3, 3), feature_group_count=4)(x))
        return nn.Dense(3)(x.mean((1, 2)))


class Residual(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Conv(6, (1, 1))(x)
        for _ in range(2):
            x = x + nn.Conv(6, (1, 1))(nn.relu(nn.Conv(5, (1, 1))(x)))
        x = jnp.concatenate([x, nn.relu(nn.Conv(4, (1, 1))(x))], -1)
        return nn.Dense(3)(x.mean((1, 2)))


class Attention(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Dense(8)(x.reshape(x.shape[0], -1, 6))
        x = x + nn.MultiHeadDotProductAttention(num_heads=2, qkv_features=8)(nn.LayerNorm()(x))
        x = x + nn.Dense(8)(nn.gelu(nn.Dense(12)(nn.LayerNorm()(x))))
        return nn.Dense(3)(x.mean(1))


class Loop(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.Dense(5)(x[:, 0, 0])
        kernels = self.param("kernels", nn.initializers.normal(0.5), (3, 5, 5))
        x, _ = jax.lax.scan(lambda h, k: (jnp.tanh(h @ k), None), x, kernels)
        return nn.Dense(3)(x)


class Split(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        gate, value = jnp.split(nn.Dense(10)(x[:, 0, 0]), 2, axis=-1)
        return nn.Dense(3)(nn.sigmoid(gate) * value)


def _loss(module: nn.Module) -> Callable[..., Any]:
    def loss(params: Any, x: Any, y: Any) -> Any:
        logits = jax.nn.log_softmax(module.apply({"params": params}, x))
        return -jnp.take_along_axis(logits, y[:, None], axis=1)[:, 0]

    return loss


def _params(module: nn.Module) -> Any:
    rng = np.random.default_rng(1)
    found = module.init(jax.random.key(0), IMAGES)["params"]
    return jax.tree.map(lambda x: np.asarray(x) + 0.1 * rng.normal(size=x.shape).astype(np.float32), found)


SIZES = {
    Dense: [6, 7],
    Convolutions: [4, 5, 6],
    Grouped: [2, 4],
    Residual: [4, 5, 5, 6],
    Attention: [2, 4, 4, 8, 12],
    Loop: [5],
    Split: [5],
}


@pytest.mark.parametrize("kind", SIZES, ids=lambda kind: kind.__name__)
def test_every_group_is_found_and_permuting_it_leaves_the_loss_as_it_is(kind: type[nn.Module]) -> None:
    module = kind()
    loss, params = _loss(module), _params(module)
    found = structure_of(loss, params, IMAGES, LABELS)
    assert not found.unknown
    assert sorted(units.size for units in found.groups.values()) == SIZES[kind]
    rng = np.random.default_rng(2)
    permutations = {name: rng.permutation(units.size) for name, units in found.groups.items()}
    moved = fill(params, found.apply(by_path(params), permutations))
    before, after = (np.asarray(jax.jit(loss)(p, IMAGES, LABELS)) for p in (params, moved))
    np.testing.assert_allclose(after, before, rtol=1e-5)
    assert any(not np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (params, moved)), strict=True))


def test_what_reads_positions_fixes_them_and_what_is_unknown_fixes_everything() -> None:
    w = {"w": np.ones((3, 4), np.float32)}
    x = np.ones((2, 3), np.float32)
    ordered = structure_of(lambda p, x: jnp.cumsum(x @ p["w"], axis=1)[:, -1], w, x)
    assert not ordered.groups
    place = structure_of(lambda p, x: (x @ p["w"]) @ jnp.arange(4.0), w, x)
    assert not place.groups
    alike = structure_of(lambda p, x: (x @ p["w"]) @ jnp.ones(4), w, x)
    assert [units.size for units in alike.groups.values()] == [4]
    odd = structure_of(lambda p, x: jnp.linalg.svd(x @ p["w"], compute_uv=False)[0] + x[:, 0], w, x)
    assert odd.unknown
    assert not odd.groups


def test_axes_are_cut_factored_and_joined_as_the_arithmetic_says() -> None:
    whole = Units(12)
    first, second = cut(whole, [4])
    heads, inside = factors(second, (2, 4))
    other = Units(12)
    join(whole, other)
    assert [units.size for units in units_of(other)] == [4, 2, 4]
    swapped = {heads.root(): np.array([1, 0])}
    np.testing.assert_array_equal(index_of(other, 12, swapped), [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7])
    np.testing.assert_array_equal(positions(other, inside.root()), [[4, 5, 6, 7], [8, 9, 10, 11]])
    fix(first)
    assert [units.size for units in units_of(whole)] == [2, 4]


def test_a_factorisation_that_does_not_agree_is_nobodys_permutation() -> None:
    a, b = Units(6), Units(6)
    factors(a, (2, 3))
    factors(b, (3, 2))
    join(a, b)
    assert not units_of(a)
    c, d = Units(12), Units(12)
    factors(c, (6, 2))
    factors(d, (3, 4))
    join(c, d)
    assert [units.size for units in units_of(c)] == [3, 2, 2]


@pytest.mark.faults
def test_a_structure_that_is_none_is_refused() -> None:
    params = {"w": np.zeros((3, 4)), "v": np.zeros(4)}
    assert given_structure(params, {"h": [("w", 1), ("v", 0)]}).places("h") == [("v", 0), ("w", 1)]
    for wrong in (
        {"h": [("w", 0), ("v", 0)]},
        {"h": [("x", 0)]},
        {"h": [("w", 2)]},
        {"h": [("w", 1)], "g": [("w", 1)]},
    ):
        with pytest.raises(ConfigurationError, match="structure"):
            given_structure(params, wrong)
