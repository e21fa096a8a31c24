"""The paper's network in tiles: the same function and derivatives, and still read by its layers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import align, barrier_matrix, loss_barrier
from trainers.tasks import load_task
from trainers.tasks.networks import build, fast_form, initialise
from trainers.tasks.tiled_cnn import tiled_logits

NETWORK = {"kind": "paper-cnn"}
RNG = np.random.default_rng(0)


def given(count: int, side: int) -> tuple[Any, np.ndarray, np.ndarray]:
    images = RNG.random((count, side, side, 1)) * (RNG.random((count, side, side, 1)) < 0.3)
    return initialise(NETWORK, (side, side, 1), 0), images, RNG.integers(0, 10, count)


def functions(labels: np.ndarray) -> dict[str, Any]:
    """The mean cross-entropy in tiles and by Flax, of parameters and images."""
    module = build(NETWORK)

    def mean(logits: Any) -> Any:
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean()

    return {
        "tiles": lambda p, x: mean(tiled_logits(p, x)),
        "flax": lambda p, x: mean(module.apply({"params": p}, x)),
    }


@pytest.mark.parametrize(("count", "side"), [(1, 28), (32, 8), (33, 8), (77, 28)])
def test_logits_are_those_of_flax_whatever_the_number_of_images(count: int, side: int) -> None:
    params, images, _ = given(count, side)
    images = images.astype(np.float32)
    found = jax.jit(tiled_logits)(params, images)
    expected = jax.jit(lambda p, x: build(NETWORK).apply({"params": p}, x))(params, images)
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)


def test_gradients_and_hessian_products_are_those_of_flax() -> None:
    with jax.enable_x64(True):
        params, images, labels = given(71, 8)
        params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
        tangent = jax.tree.map(lambda leaf: RNG.normal(size=leaf.shape), params)

        def derivatives(mean: Any) -> Any:
            gradient = jax.grad(mean)
            return jax.jit(lambda p, t, x: jax.jvp(lambda q: gradient(q, x), (p,), (t,)))(
                params, tangent, images
            )

        found, expected = (derivatives(mean) for mean in functions(labels).values())
        for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_images_that_do_not_pool_twice_have_no_tiles() -> None:
    assert fast_form(NETWORK, (28, 28, 1)) is tiled_logits
    assert fast_form(NETWORK, (30, 28, 1)) is None
    assert fast_form({"kind": "lenet-300-100"}, (28, 28, 1)) is None


def test_the_layers_of_a_tiled_network_are_still_found() -> None:
    task = load_task("digits", NETWORK)
    a = task.init(0)
    order = np.roll(np.arange(8), 3)
    b = {layer: dict(leaves) for layer, leaves in a.items()}
    b["Conv_0"] = {name: leaf[..., order] for name, leaf in a["Conv_0"].items()}
    b["Conv_1"]["kernel"] = a["Conv_1"]["kernel"][:, :, order]
    found = align(task.problem, a, b)
    for ours, theirs in zip(jax.tree.leaves(found.params), jax.tree.leaves(a), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    mended = loss_barrier(
        task.problem, a, task.init(1), num_points=3, num_resamples=20, refine=False, repair=True
    )
    assert mended.stats["renormalised"]["layers"] == ["Conv_0/bias", "Conv_1/bias"]
    matrix = barrier_matrix(task.problem, [a, task.init(1)], num_points=3, num_resamples=20)
    assert np.isfinite(matrix.matrix()).all()
