"""Every analysis over every kind of pytree: one small network, equal numbers, its own structure back."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn, nnx
from flax.core import freeze

import landscape
from landscape import Checkpoint, Problem, load, save
from landscape.errors import ArchitectureMismatchError, InputError
from landscape.trees import arrays_by_path, map_arrays, tree_digest

RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, 3)).astype(np.float32)
Y = RNG.integers(0, 2, 12).astype(np.int32)

Weights = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def weights(seed: int) -> Weights:
    rng = np.random.default_rng(seed)
    shapes = ((3, 4), (4,), (4, 2), (2,))
    k1, b1, k2, b2 = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    return k1, b1, k2, b2


class Pair(NamedTuple):
    bias: Any
    kernel: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Layer:
    bias: Any
    kernel: Any


class Node:
    """A class that names its children itself."""

    def __init__(self, bias: Any, kernel: Any) -> None:
        self.bias, self.kernel = bias, kernel


jax.tree_util.register_pytree_with_keys(
    Node,
    lambda x: (
        ((jax.tree_util.GetAttrKey("bias"), x.bias), (jax.tree_util.GetAttrKey("kernel"), x.kernel)),
        None,
    ),
    lambda _, children: Node(*children),
)


class Bare:
    """A class whose children have no names."""

    def __init__(self, *children: Any) -> None:
        self.children = children


jax.tree_util.register_pytree_node(Bare, lambda x: (x.children, None), lambda _, children: Bare(*children))


class Layered(eqx.Module):
    """An Equinox module with a function, a text, a number and a flag beside its weights."""

    layer1: Layer
    layer2: Layer
    activation: Callable[[Any], Any]
    mode: str = "plain"
    rate: float = 0.5
    inference: bool = True

    def __call__(self, x: Any) -> Any:
        assert self.inference  # as equinox.nn.Dropout asks: a traced flag would raise
        assert self.mode == "plain"
        return (
            self.activation(x @ self.layer1.kernel + self.layer1.bias) @ self.layer2.kernel + self.layer2.bias
        )


class Dense(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.Dense(2, name="layer2")(jnp.tanh(nn.Dense(4, name="layer1")(x)))


class Model(nnx.Module):
    def __init__(self, k1: Any, b1: Any, k2: Any, b2: Any) -> None:
        rngs = nnx.Rngs(0)
        self.dropout = nnx.Dropout(0.5, rngs=rngs, deterministic=True)
        self.layer1, self.layer2 = nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)
        self.layer1.kernel[...], self.layer1.bias[...] = jnp.asarray(k1), jnp.asarray(b1)
        self.layer2.kernel[...], self.layer2.bias[...] = jnp.asarray(k2), jnp.asarray(b2)

    def __call__(self, x: Any) -> Any:
        return self.layer2(self.dropout(jnp.tanh(self.layer1(x))))


GRAPH, _, REST = nnx.split(Model(*weights(1)), nnx.Param, ...)
HAIKU = hk.without_apply_rng(
    hk.transform(lambda x: hk.Linear(2, name="layer2")(jnp.tanh(hk.Linear(4, name="layer1")(x))))
)


def nested(w: Weights) -> dict[str, Any]:
    return {"layer1": {"kernel": w[0], "bias": w[1]}, "layer2": {"kernel": w[2], "bias": w[3]}}


def of_layers(make: Callable[..., Any]) -> Callable[[Weights], Any]:
    return lambda w: {"layer1": make(bias=w[1], kernel=w[0]), "layer2": make(bias=w[3], kernel=w[2])}


def by_hand(k1: Any, b1: Any, k2: Any, b2: Any, x: Any) -> Any:
    return jnp.tanh(x @ k1 + b1) @ k2 + b2


def of_attributes(tree: Any, x: Any) -> Any:
    one, two = tree["layer1"], tree["layer2"]
    return by_hand(one.kernel, one.bias, two.kernel, two.bias, x)


def of_items(tree: Any, x: Any) -> Any:
    one, two = tree["layer1"], tree["layer2"]
    return by_hand(one["kernel"], one["bias"], two["kernel"], two["bias"], x)


def linen(tree: Any, x: Any) -> Any:
    return Dense().apply(tree, x)


# How a network is made of weights, and how its outputs are computed from it and the inputs.
KINDS: dict[str, tuple[Callable[[Weights], Any], Callable[[Any, Any], Any]]] = {
    "dictionaries": (nested, of_items),
    "ordered": (lambda w: OrderedDict(nested(w)), of_items),
    "lists": (
        lambda w: [[w[1], w[0]], [w[3], w[2]]],
        lambda t, x: by_hand(t[0][1], t[0][0], t[1][1], t[1][0], x),
    ),
    "named tuples": (of_layers(Pair), of_attributes),
    "dataclasses": (of_layers(Layer), of_attributes),
    "a registered class": (of_layers(Node), of_attributes),
    "a class without names": (
        lambda w: Bare(Bare(w[1], w[0]), Bare(w[3], w[2])),
        lambda t, x: by_hand(
            t.children[0].children[1],
            t.children[0].children[0],
            t.children[1].children[1],
            t.children[1].children[0],
            x,
        ),
    ),
    "with None, whole numbers, keys": (
        lambda w: {**nested(w), "none": None, "step": np.int32(3), "key": jax.random.key(7)},
        of_items,
    ),
    "with a function": (
        lambda w: {**nested(w), "activation": jnp.tanh},
        lambda t, x: (
            t["activation"](x @ t["layer1"]["kernel"] + t["layer1"]["bias"]) @ t["layer2"]["kernel"]
            + t["layer2"]["bias"]
        ),
    ),
    "Flax linen": (lambda w: {"params": nested(w)}, linen),
    "Flax linen, all variables": (
        lambda w: {"params": nested(w), "batch_stats": {"norm": {"mean": np.zeros(2, np.float32)}}},
        linen,
    ),
    "FrozenDict": (lambda w: freeze({"params": nested(w)}), linen),
    "nnx.State": (
        lambda w: nnx.split(Model(*w), nnx.Param, ...)[1],
        lambda t, x: nnx.merge(GRAPH, t, REST)(x),
    ),
    "a whole nnx.Module": (lambda w: Model(*w), lambda t, x: t(x)),
    "an Equinox module": (
        lambda w: Layered(Layer(w[1], w[0]), Layer(w[3], w[2]), jax.nn.tanh),
        lambda t, x: t(x),
    ),
    "Haiku": (
        lambda w: {"layer1": {"w": w[0], "b": w[1]}, "layer2": {"w": w[2], "b": w[3]}},
        HAIKU.apply,
    ),
}


def problem_of(kind: str) -> Problem:
    outputs = KINDS[kind][1]

    def loss(z: Any, batch: Any) -> Any:
        return jax.nn.logsumexp(z, axis=-1) - jnp.take_along_axis(z, batch[1][:, None], -1)[:, 0]

    def model(params: Any, batch: Any) -> Any:
        return outputs(params, batch[0])

    return Problem(
        lambda params, batch: loss(model(params, batch), batch),
        train=(X, Y),
        outputs=landscape.Outputs(model, loss, likelihood="categorical"),
    )


def numbers(problem: Problem, params: Any, other: Any) -> dict[str, np.ndarray]:
    """Return what every analysis says of a network, as plain numbers."""
    operator = landscape.hessian(problem, params)
    barrier = landscape.loss_barrier(
        problem, params, other, num_points=5, num_resamples=50, batch_stats="keep", refine=False
    )
    flatness = landscape.measure_flatness(
        problem, params, measures=["sam", "gaussian", "fisher_rao"], draws=4
    )
    found = {
        "barrier": barrier.losses["train"]["loss"],
        "eigenvalues": landscape.top_eigenpairs(operator, 3).eigenvalues,
        "trace": landscape.trace(operator, num_probes=12).value,
        "diagonal": landscape.diagonal(operator, num_probes=12).values,
        "density": landscape.spectral_density(operator, num_probes=2, num_steps=8).density,
        "gauss_newton": landscape.gauss_newton(problem, params).dense(),
        "fisher": landscape.fisher(problem, params).dense(),
        "gradient": operator.gradient(),
        "line": landscape.loss_line(
            problem, params, x=(-0.5, 0.5, 5), num_lines=1, batch_stats="keep"
        ).losses["train"]["loss"],
        "flatness": [record["value"] for record in flatness.records],
    }
    return {name: np.asarray(value, np.float64) for name, value in found.items()}


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    problem = problem_of("dictionaries")
    return numbers(problem, nested(weights(1)), nested(weights(2)))


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_row_37_every_analysis_gives_equal_numbers_whatever_the_tree(kind: str, expected: Any) -> None:
    make = KINDS[kind][0]
    found = numbers(problem_of(kind), make(weights(1)), make(weights(2)))
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=2e-4, atol=2e-5, err_msg=name)


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_row_37_a_vector_comes_back_in_the_structure_that_came(kind: str) -> None:
    params = KINDS[kind][0](weights(1))
    operator = landscape.hessian(problem_of(kind), params)
    vector = np.arange(operator.dim, dtype=np.float32)
    tree = operator.unflatten(vector)
    assert jax.tree.structure(tree) == jax.tree.structure(params)
    np.testing.assert_array_equal(operator.flatten(tree), vector)
    assert float(problem_of(kind).evaluate(tree)["loss"]) > 0  # the loss takes it like any parameters


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_row_37_a_saved_tree_is_loaded_like_it(kind: str, tmp_path: Path) -> None:
    params, other = (KINDS[kind][0](weights(seed)) for seed in (1, 2))
    path = save(tmp_path / "a.h5", Checkpoint(params=params))
    found = load(path, like=other)
    assert jax.tree.structure(found.params) == jax.tree.structure(other)
    assert tree_digest(found.params) == tree_digest(params) == load(path).digest
    problem = problem_of(kind)
    assert problem.evaluate(found.params) == problem.evaluate(params)
    mixed = landscape.loss_barrier(problem, path, params, num_points=3, num_resamples=20, batch_stats="keep")
    assert mixed.identical


# Of each family that the first table leaves out, with settings that make it cheap.
FLATNESS = ("gaussian_relative", "average_normalised", "keskar", "sam_ascent", "adaptive_l2")
FEW_STEPS = {name: {"steps": 2, "starts": 1} for name in ("keskar", "sam_ascent", "adaptive_l2")}


def spread(params: Any) -> Any:
    """Return standard deviations of a search distribution around a network, in its structure."""
    return map_arrays(
        lambda _, leaf: np.abs(leaf) + 0.1 if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, params
    )


def reordered(w: Weights) -> Weights:
    """Return the same function with its hidden units in another order."""
    order = [2, 0, 3, 1]
    return w[0][:, order], w[1][order], w[2][order], w[3]


def connected(kind: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return what the analyses of planes and of several networks say, and the networks they give back."""
    problem, make = problem_of(kind), KINDS[kind][0]
    params, other = make(weights(1)), make(weights(2))
    keep: dict[str, Any] = {"batch_stats": "keep"}
    few: dict[str, Any] = {"num_points": 3, "num_resamples": 20, **keep}
    plane: dict[str, Any] = {"x": (-1, 1, 3), "y": (-1, 1, 3), **keep}
    surface = landscape.loss_surface(problem, params, num_planes=1, **plane)
    line = landscape.loss_line(problem, [params, other], directions="checkpoints", x=(0, 1, 3), **keep)
    curve = landscape.connect(problem, params, other, steps=3, train_batch_size=6, **few)
    half = curve.at(0.5, like=params)
    path = landscape.trajectory(problem, [params, half, other], **plane)
    matrix = landscape.barrier_matrix(problem, [params, half, other], **few)
    aligned = landscape.align(problem, params, make(reordered(weights(1))), restarts=1)
    flatness = landscape.measure_flatness(problem, params, measures=FLATNESS, settings=FEW_STEPS, draws=2)
    scale = landscape.scale_curvature(problem, Checkpoint(params=params, std=spread(params)))
    smoothed = landscape.smoothed_trace(problem, params, radius=0.1, form="sphere", num_pairs=10)
    found = {
        "surface": surface.losses["train"]["loss"],
        "line": line.losses["train"]["loss"],
        "curve": curve.losses["train"]["loss"],
        "trajectory": path.surface,
        "projections": path.plane_losses,
        "matrix": matrix.losses["train"]["loss"],
        "aligned": [aligned.distance_before, aligned.distance_after, max(aligned.moved.values())],
        "flatness": [record["value"] for record in flatness.records],
        "smoothed": [smoothed.loss, smoothed.dim, len(smoothed.per_layer)],
        "scale": [[record["rank"], record["linear"]] for record in scale.records],
    }
    returned = {"curve": half, "aligned": aligned.params}
    return {name: np.asarray(value, np.float64) for name, value in found.items()}, returned


@pytest.fixture(scope="module")
def expected_connected() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    return connected("dictionaries")


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_row_37_planes_curves_matrices_and_alignment_are_equal_whatever_the_tree(
    kind: str, expected_connected: Any
) -> None:
    params = KINDS[kind][0](weights(1))
    found, returned = connected(kind)
    values, networks = expected_connected
    for name, value in values.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, atol=1e-6, err_msg=name)
    for name, network in networks.items():
        assert jax.tree.structure(returned[name]) == jax.tree.structure(params), name
        loss = problem_of("dictionaries").evaluate(network)["loss"]
        assert problem_of(kind).evaluate(returned[name])["loss"] == pytest.approx(loss, rel=1e-6), name
    assert tree_digest(returned["aligned"]) == tree_digest(params)  # every unit is back in its place


def test_what_is_carried_along_is_no_weight_and_comes_back_unchanged() -> None:
    params = KINDS["an Equinox module"][0](weights(1))
    tree = landscape.hessian(problem_of("an Equinox module"), params).unflatten(np.zeros(26, np.float32))
    assert (tree.activation, tree.mode, tree.rate) == (jax.nn.tanh, "plain", 0.5)
    key = KINDS["with None, whole numbers, keys"][0](weights(1))
    tree = landscape.hessian(problem_of("with None, whole numbers, keys"), key).unflatten(
        np.zeros(26, np.float32)
    )
    assert tree["none"] is None
    assert jnp.array_equal(jax.random.key_data(tree["key"]), jax.random.key_data(key["key"]))
    assert "key" not in arrays_by_path(key)


def test_functions_that_differ_between_two_networks_are_refused() -> None:
    made = [
        Layered(Layer(w[1], w[0]), Layer(w[3], w[2]), function)
        for w, function in ((weights(1), jax.nn.tanh), (weights(2), jax.nn.relu))
    ]
    with pytest.raises(ArchitectureMismatchError, match="activation"):
        landscape.loss_barrier(problem_of("an Equinox module"), *made, num_points=3)


@pytest.mark.faults
def test_row_37_complex_weights_are_refused_with_the_reason() -> None:
    problem = Problem(
        lambda params, batch: jnp.abs(params["w"]) ** 2 + 0 * batch, train=np.zeros(3, np.float32)
    )
    with pytest.raises(InputError, match="complex numbers"):
        landscape.hessian(problem, {"w": np.complex64(1 + 1j)})


def test_an_equinox_network_of_its_own_layers_keeps_flags_out_of_the_program() -> None:
    class Net(eqx.Module):
        mlp: eqx.nn.MLP
        dropout: eqx.nn.Dropout

        def __call__(self, x: Any) -> Any:
            return self.mlp(self.dropout(x, inference=True))

    net = Net(eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0)), eqx.nn.Dropout(0.25))
    problem = Problem(
        lambda model, batch: jnp.sum((jax.vmap(model)(batch[0]) - batch[1][:, None]) ** 2, axis=-1),
        train=(X, Y),
    )
    pairs = landscape.top_eigenpairs(landscape.hessian(problem, net), 1)
    assert pairs.eigenvalues[0] > 0
    assert "dropout/p" not in arrays_by_path(net)
