"""Scores against their definitions, scopes, controls, paths and diagnostics."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import spearmanr

from landscape import Outputs, Problem
from landscape.errors import ConfigurationError, MaskError
from landscape.trees import Layout
from trainers.pruning import (
    CONTROLS,
    SCOPES,
    SCORES,
    ChainLayer,
    ControlInputs,
    ScoreInputs,
    control,
    count_to_keep,
    densities,
    effective_mask,
    layer_counts,
    loss_derivatives,
    mask_overlap,
    prune,
    prune_in_steps,
    rank_correlations,
    score,
)
from trainers.tasks import chain
from trainers.tasks.networks import build, initialise

RNG = np.random.default_rng(0)
SHAPES = {"Dense_0": (6, 5), "Dense_1": (5, 4), "Dense_2": (4, 3)}
PARAMS: dict[str, Any] = {
    name: {
        "kernel": RNG.normal(size=shape).astype(np.float32),
        "bias": RNG.normal(size=shape[1]).astype(np.float32),
    }
    for name, shape in SHAPES.items()
}
LAYOUT = Layout.of(PARAMS)
CHAIN = tuple(ChainLayer(path=f"{name}/kernel") for name in SHAPES)
X, Y = RNG.normal(size=(40, 6)).astype(np.float32), RNG.integers(0, 3, 40)


def model(params: Any, batch: Any) -> jax.Array:
    x = batch[0]
    for name in SHAPES:
        x = x @ params[name]["kernel"] + params[name]["bias"]
        x = jax.nn.relu(x) if name != "Dense_2" else x
    return x


def cross_entropy(logits: jax.Array, batch: Any) -> jax.Array:
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), batch[1][:, None], axis=1)[:, 0]


PROBLEM = Problem(
    lambda params, batch: cross_entropy(model(params, batch), batch),
    train=(X, Y),
    outputs=Outputs(model, cross_entropy),
)
PRUNABLE = LAYOUT.prunable()
FULL = np.ones(LAYOUT.size, bool)
VECTOR = LAYOUT.flatten(PARAMS)


def inputs(**changes: Any) -> ScoreInputs:
    rng = np.random.default_rng(1)
    values: dict[str, Any] = {
        "mean": VECTOR,
        "std": rng.uniform(0.1, 1, LAYOUT.size),
        "mask_seed": 3,
        "initial": rng.normal(size=LAYOUT.size),
        "mask": FULL,
        "derivatives": loss_derivatives(PROBLEM, LAYOUT, PARAMS, num_examples=25, seed=3),
    }
    return ScoreInputs(**{**values, **changes})


def dense_derivatives() -> tuple[np.ndarray, np.ndarray]:
    """Gradient and Hessian of the mean loss over the same examples, by dense float64."""
    index = np.sort(np.random.default_rng([3, 0xDA7A]).permutation(40)[:25])
    batch = (jnp.asarray(X[index]), jnp.asarray(Y[index]))
    with jax.enable_x64(True):
        batch = (jnp.asarray(X[index], jnp.float64), jnp.asarray(Y[index]))

        def loss(vector: jax.Array) -> jax.Array:
            return PROBLEM.loss(LAYOUT.unflatten(vector, PARAMS), batch).mean()

        vector = jnp.asarray(VECTOR, jnp.float64)
        return np.asarray(jax.jit(jax.grad(loss))(vector)), np.asarray(jax.jit(jax.hessian(loss))(vector))


def test_snip_is_the_first_order_effect_of_removal() -> None:
    gradient, _ = dense_derivatives()
    np.testing.assert_allclose(score("snip", inputs()), np.abs(gradient * VECTOR), rtol=1e-10)


def test_grasp_keeps_the_weights_whose_removal_costs_gradient_flow() -> None:
    """Removing weight i changes ‖g‖² by −2 θ_i (Hg)_i to first order, by dense derivatives."""
    gradient, hessian = dense_derivatives()
    found = score("grasp", inputs())
    np.testing.assert_allclose(found, VECTOR * (hessian @ gradient), rtol=1e-9, atol=1e-12)
    with jax.enable_x64(True):
        derivatives = inputs().derivatives
        assert derivatives is not None
        place = int(np.argmax(found))
        less = VECTOR.astype(np.float64).copy()
        less[place] *= 1 - 1e-6
        change = (derivatives.gradient(less) ** 2).sum() - (gradient**2).sum()
        assert change == pytest.approx(-2e-6 * found[place], rel=1e-3)


def test_synflow_is_the_sum_over_paths_through_each_weight() -> None:
    """Tanaka et al. 2020: without biases the score of a weight is the product sum over its paths."""
    flat = {name: {"kernel": leaf["kernel"], "bias": 0 * leaf["bias"]} for name, leaf in PARAMS.items()}
    found = LAYOUT.split(score("synflow", inputs(mean=LAYOUT.flatten(flat))))
    a, b, c = (np.abs(flat[name]["kernel"].astype(np.float64)) for name in SHAPES)
    expected = np.zeros_like(b)
    for i, j, k, m in itertools.product(range(6), range(5), range(4), range(3)):
        expected[j, k] += a[i, j] * b[j, k] * c[k, m]
    np.testing.assert_allclose(found["Dense_1/kernel"], expected, rtol=1e-10)
    layers = [found[f"{name}/kernel"].sum() for name in SHAPES]
    np.testing.assert_allclose(layers, layers[0], rtol=1e-10)  # the same flow through every layer


def test_snr_divides_by_std_or_variance_or_adams_scale() -> None:
    one = inputs()
    assert one.std is not None
    np.testing.assert_allclose(score("snr", one), np.abs(VECTOR) / one.std)
    np.testing.assert_allclose(score("snr", inputs(snr_denominator="variance")), np.abs(VECTOR) / one.std**2)
    moment = RNG.uniform(size=LAYOUT.size)
    by_adam = inputs(std=None, second_moment=moment)
    np.testing.assert_allclose(score("snr", by_adam), np.abs(VECTOR) * np.sqrt(moment))
    with pytest.raises(ConfigurationError, match="neither a search distribution nor"):
        score("snr", inputs(std=None))


def test_movement_is_half_the_growth_of_the_square() -> None:
    one = inputs()
    assert one.initial is not None
    expected = 0.5 * (VECTOR.astype(np.float64) ** 2 - one.initial**2)
    np.testing.assert_allclose(score("movement", one), expected)


def test_synflow_of_a_loss_without_known_outputs_is_refused() -> None:
    plain = Problem(PROBLEM.loss, train=(X, Y))
    derivatives = loss_derivatives(plain, LAYOUT, PARAMS, num_examples=5, seed=0)
    with pytest.raises(ConfigurationError, match="outputs are not known"):
        score("synflow", inputs(derivatives=derivatives))


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("biases", [False, True])
def test_every_score_and_scope_keeps_exact_counts_nested_and_spares_biases(
    name: str, scope: str, biases: bool
) -> None:
    prunable, mask = LAYOUT.prunable(biases=biases), FULL
    scores = score(name, inputs())
    for density in (0.71, 0.5, 0.2, 0.1):
        keep = count_to_keep(int(prunable.sum()), density)
        pruned = prune(scores, mask, prunable, keep=keep, layout=LAYOUT, scope=scope)
        assert int((pruned & prunable).sum()) == keep
        assert not (pruned & ~mask).any()
        assert pruned[~prunable].all()
        mask = pruned


@pytest.mark.parametrize("scope", SCOPES)
def test_the_order_in_which_a_tree_was_built_does_not_matter(scope: str) -> None:
    """Ties included: the scores take three values only."""
    shuffled = {name: dict(reversed(PARAMS[name].items())) for name in reversed(PARAMS)}
    other = Layout.of(shuffled)
    scores = np.round(np.abs(VECTOR) * 1.5)
    assert len(np.unique(scores)) < 8
    first, second = (
        prune(scores, FULL, PRUNABLE, keep=20, layout=layout, scope=scope) for layout in (LAYOUT, other)
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_nan_score_is_refused_with_its_path(scope: str) -> None:
    scores = np.abs(VECTOR).copy()
    scores[LAYOUT.slices["Dense_1/kernel"].start + 2] = np.nan
    with pytest.raises(MaskError, match="Dense_1/kernel"):
        prune(scores, FULL, PRUNABLE, keep=30, layout=LAYOUT, scope=scope)


def test_layer_counts_follow_their_definitions() -> None:
    even = layer_counts("layerwise", FULL, PRUNABLE, keep=31, layout=LAYOUT)
    assert even == {"Dense_0/kernel": 15, "Dense_1/kernel": 10, "Dense_2/kernel": 6}
    # ER: counts in proportion to n_in + n_out = 11, 9, 7
    assert layer_counts("er", FULL, PRUNABLE, keep=27, layout=LAYOUT) == {
        "Dense_0/kernel": 11,
        "Dense_1/kernel": 9,
        "Dense_2/kernel": 7,
    }
    # 54 would ask 14 of the last layer's 12: it keeps all, the others share 42 as 11 to 9
    assert layer_counts("er", FULL, PRUNABLE, keep=54, layout=LAYOUT) == {
        "Dense_0/kernel": 23,
        "Dense_1/kernel": 19,
        "Dense_2/kernel": 12,
    }


def test_erk_counts_kernel_sizes_too() -> None:
    layout = Layout.of(
        {"Conv_0": {"kernel": np.zeros((5, 5, 8, 16))}, "Dense_0": {"kernel": np.zeros((784, 10))}}
    )
    full = np.ones(layout.size, bool)
    erk = layer_counts("erk", full, full, keep=400, layout=layout)
    # in proportion to 5 + 5 + 8 + 16 = 34 and 784 + 10 = 794
    assert erk == {"Conv_0/kernel": 16, "Dense_0/kernel": 384}
    er = layer_counts("er", full, full, keep=400, layout=layout)
    # (8 + 16)·25 = 600 and 794
    assert er == {"Conv_0/kernel": 172, "Dense_0/kernel": 228}


def test_pruning_in_steps_keeps_layers_that_one_step_would_empty() -> None:
    """Tanaka et al. 2020: with scores taken again, the flow through a thinning layer rises."""
    derivatives = inputs().derivatives

    def score_of(mask: np.ndarray) -> np.ndarray:
        return score("synflow", inputs(mean=np.where(mask, VECTOR, 0.0), derivatives=derivatives))

    options: dict[str, Any] = {"keep": 6, "layout": LAYOUT, "scope": "global"}
    found = prune_in_steps(score_of, FULL, PRUNABLE, num_steps=50, **options)
    assert int((found & PRUNABLE).sum()) == 6
    assert densities(found, PRUNABLE, LAYOUT)["collapsed"] == []
    assert effective_mask(found, LAYOUT, CHAIN).sum() == 6


def brute_force(mask: np.ndarray) -> np.ndarray:
    a, b, c = (LAYOUT.split(mask)[layer.path] for layer in CHAIN)
    kept = [np.zeros_like(x) for x in (a, b, c)]
    for i, j, k, m in itertools.product(range(6), range(5), range(4), range(3)):
        if a[i, j] and b[j, k] and c[k, m]:
            kept[0][i, j] = kept[1][j, k] = kept[2][k, m] = True
    result = np.zeros(mask.shape, bool)
    for layer, part in zip(CHAIN, kept, strict=True):
        result[LAYOUT.slices[layer.path]] = part.reshape(-1)
    return result


@pytest.mark.parametrize("density", [0.1, 0.2, 0.4, 0.8])
def test_effective_weights_are_those_on_a_path(density: float) -> None:
    rng = np.random.default_rng(int(100 * density))
    for _ in range(20):
        mask = rng.random(LAYOUT.size) < density
        np.testing.assert_array_equal(effective_mask(mask, LAYOUT, CHAIN), brute_force(mask))


def test_effective_weights_of_the_papers_network_carry_flow() -> None:
    """A weight is on a path exactly if a positive network's output depends on it.

    Images wrap around and pooling sums, so that all places of a channel are alike.
    """
    network = {"kind": "paper-cnn"}
    params = initialise(network, (28, 28, 1), 0)
    layout = Layout.of(params)
    rng = np.random.default_rng(5)
    mask = rng.random(layout.size) < 0.02
    mask[~layout.prunable()] = False

    def positive(vector: jax.Array) -> jax.Array:
        leaves = layout.split(vector)
        x = jnp.ones((1, 28, 28, 1))
        for name in ("Conv_0", "Conv_1"):
            kernel = leaves[f"{name}/kernel"]
            x = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="wrap")
            axes = ("NHWC", "HWIO", "NHWC")
            x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=axes)
            x = x.reshape(1, x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).sum((2, 4))
        return (x.reshape(1, -1) @ leaves["Dense_0/kernel"]).sum()

    flow = np.asarray(jax.jit(jax.grad(positive))(jnp.asarray(mask, jnp.float32)))
    np.testing.assert_array_equal(effective_mask(mask, layout, chain(network)), (flow > 0) & mask)
    assert build(network) is not None


def ticket(mask_seed: int = 7, density: float = 0.4) -> ControlInputs:
    keep = count_to_keep(int(PRUNABLE.sum()), density)
    mask = prune(np.abs(VECTOR), FULL, PRUNABLE, keep=keep, layout=LAYOUT, scope="global")
    return ControlInputs(
        mask=mask,
        init=VECTOR,
        own_init=VECTOR + 1,
        prunable=PRUNABLE,
        layout=LAYOUT,
        mask_seed=mask_seed,
        initialise=lambda seed: np.random.default_rng(seed).normal(size=LAYOUT.size).astype(np.float32),
        chain=CHAIN,
    )


def per_layer(mask: np.ndarray) -> list[int]:
    return [int(mask[where].sum()) for where in LAYOUT.slices.values()]


@pytest.mark.parametrize("name", CONTROLS)
def test_every_control_keeps_the_count_and_is_a_function_of_the_mask_seed(name: str) -> None:
    one, again, other = control(name, ticket()), control(name, ticket()), control(name, ticket(8))
    for first, second in zip(one, again, strict=True):
        np.testing.assert_array_equal(first, second)
    assert (one[0] & PRUNABLE).sum() == (ticket().mask & PRUNABLE).sum()
    assert one[0][~PRUNABLE].all()
    same = all(np.array_equal(x, y) for x, y in zip(one, other, strict=True))
    assert same == (name in ("none", "own-init"))


def test_controls_change_one_thing_each() -> None:
    plain = ticket()
    for name in ("own-init", "reinitialise", "permute-weights"):
        mask, init = control(name, plain)
        np.testing.assert_array_equal(mask, plain.mask)
        assert not np.array_equal(init[plain.mask], plain.init[plain.mask])
    for name in ("permute-mask", "layer-random", "connected-random"):
        mask, init = control(name, plain)
        np.testing.assert_array_equal(init, plain.init)
        assert not np.array_equal(mask, plain.mask)
    for name in ("permute-mask", "layer-random"):
        assert per_layer(control(name, plain)[0]) == per_layer(plain.mask)


def test_permuted_weights_are_the_same_weights_in_every_layer() -> None:
    plain = ticket()
    _, init = control("permute-weights", plain)
    for where in LAYOUT.slices.values():
        inside = np.zeros(LAYOUT.size, bool)
        inside[where] = plain.mask[where]
        np.testing.assert_array_equal(np.sort(init[inside]), np.sort(plain.init[inside]))
    outside = ~plain.mask
    np.testing.assert_array_equal(init[outside], plain.init[outside])


def test_a_permuted_mask_moves_entries_across_rows_and_columns() -> None:
    """Over many seeds every place of a layer is about equally often kept."""
    where = LAYOUT.slices["Dense_0/kernel"]
    kept = np.mean([control("permute-mask", ticket(seed))[0][where] for seed in range(400)], axis=0)
    density = ticket().mask[where].mean()
    # 30 places, standard error at most 0.025: five of them leave a false alarm below 1e-4
    assert np.abs(kept - density).max() < 0.125


@pytest.mark.parametrize("density", [0.15, 0.3, 0.6])
def test_connected_random_masks_have_every_weight_on_a_path(density: float) -> None:
    for seed in range(20):
        mask, _ = control("connected-random", ticket(seed, density))
        kernels = mask & PRUNABLE
        np.testing.assert_array_equal(effective_mask(mask, LAYOUT, CHAIN), kernels)
        assert kernels.sum() == count_to_keep(int(PRUNABLE.sum()), density)


@pytest.mark.faults
def test_connected_random_masks_that_cannot_be_are_refused() -> None:
    with pytest.raises(MaskError, match="too few weights for a path"):
        control("connected-random", ticket(density=1 / 62))
    plain = ticket()
    unknown = ControlInputs(**{**vars(plain), "chain": None})
    with pytest.raises(ConfigurationError, match="layers are not known"):
        control("connected-random", unknown)


def test_layer_random_masks_are_nested() -> None:
    wide, narrow = (control("layer-random", ticket(density=d))[0] for d in (0.6, 0.2))
    dense, sparse = (np.asarray(per_layer(ticket(density=d).mask)) for d in (0.6, 0.2))
    assert (sparse <= dense).all()
    assert not (narrow & ~wide).any()


def test_rank_correlations_are_spearmans() -> None:
    rng = np.random.default_rng(4)
    first, now = np.round(rng.normal(size=(2, LAYOUT.size)), 1)
    alive = PRUNABLE & (rng.random(LAYOUT.size) < 0.7)
    found = rank_correlations(now, first, alive, LAYOUT)
    assert found["all"] == pytest.approx(spearmanr(now[alive], first[alive]).statistic, abs=1e-12)
    where = LAYOUT.slices["Dense_1/kernel"]
    inside = alive[where]
    expected = spearmanr(now[where][inside], first[where][inside]).statistic
    assert found["Dense_1/kernel"] == pytest.approx(expected, abs=1e-12)
    assert rank_correlations(first * 0, first, alive, LAYOUT)["all"] is None


def test_overlap_of_random_masks_is_what_chance_gives() -> None:
    indices = []
    for seed in range(400):
        a, b = (control("layer-random", ticket(2 * seed + i))[0] for i in range(2))
        indices.append(mask_overlap(a, b, PRUNABLE, LAYOUT))
    found, chance = (np.mean([index[key] for index in indices]) for key in ("jaccard", "by_chance"))
    # standard error about 0.004; the ratio of expectations is not the expectation of the ratio, by less
    assert abs(found - chance) < 0.02
    same = mask_overlap(ticket().mask, ticket().mask, PRUNABLE, LAYOUT)
    assert same["jaccard"] == 1.0
    assert same["by_chance"] < 0.5


def test_densities_name_collapsed_layers() -> None:
    mask = FULL.copy()
    mask[LAYOUT.slices["Dense_1/kernel"]] = False
    found = densities(mask, PRUNABLE, LAYOUT, CHAIN)
    assert found["collapsed"] == ["Dense_1/kernel"]
    assert found["effective_density"] == 0.0
    assert found["num_weights"] == 42
    assert found["density"] == pytest.approx(42 / 62)
    assert found["density_all"] == pytest.approx((42 + 12) / LAYOUT.size)
