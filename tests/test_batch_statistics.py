"""Statistics of normalisation layers: recognised, exact, the same for every batch size."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn, nnx

import landscape
from landscape import Checkpoint, Problem, Stream, flax_statistics, loss_barrier
from landscape.errors import ConfigurationError, ProblemError
from landscape.trees import arrays_by_path, statistics_paths

RNG = np.random.default_rng(3)
X = (RNG.standard_normal((23, 4)) * [1, 3, 0.2, 1] + [0, 5, 1, -2]).astype(np.float32)
Y = RNG.standard_normal((23, 2)).astype(np.float32)
EPSILON = 1e-5


class Net(nn.Module):
    """Two normalisation layers, one after the other."""

    @nn.compact
    def __call__(self, x: Any, train: bool = False) -> Any:
        x = nn.tanh(nn.BatchNorm(use_running_average=not train, name="norm1")(nn.Dense(5, name="dense1")(x)))
        return nn.BatchNorm(use_running_average=not train, name="norm2")(nn.Dense(2, name="dense2")(x))


class Model(nnx.Module):
    def __init__(self, seed: int) -> None:
        rngs = nnx.Rngs(seed)
        self.dense1, self.norm1 = nnx.Linear(4, 5, rngs=rngs), nnx.BatchNorm(5, rngs=rngs)
        self.dense2, self.norm2 = nnx.Linear(5, 2, rngs=rngs), nnx.BatchNorm(2, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.norm2(self.dense2(jnp.tanh(self.norm1(self.dense1(x)))))


NET = Net()


def variables(seed: int) -> dict[str, Any]:
    found: dict[str, Any] = jax.tree.map(np.asarray, NET.init(jax.random.key(seed), X))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: (x + 0.3 * rng.standard_normal(x.shape)).astype(np.float32), found)


def loss(point: Any, batch: Any) -> Any:
    out = NET.apply({"params": point[0], "batch_stats": point[1]}, batch[0])
    return jnp.sum((out - batch[1]) ** 2, axis=-1)


def whole_loss(params: Any, batch: Any) -> Any:
    return loss((params["params"], params["batch_stats"]), batch)


def problem(**options: Any) -> Problem:
    return Problem(loss, train=(X, Y), update_stats=flax_statistics(NET, train=False), **options)


def by_hand(params: Any) -> dict[str, dict[str, np.ndarray]]:
    """Return both layers' statistics over all examples, in float64, the second behind the first."""
    wide = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    first = X.astype(np.float64) @ wide["dense1"]["kernel"] + wide["dense1"]["bias"]
    mean, var = first.mean(0), first.var(0)
    norm = (first - mean) / np.sqrt(var + EPSILON) * wide["norm1"]["scale"] + wide["norm1"]["bias"]
    second = np.tanh(norm) @ wide["dense2"]["kernel"] + wide["dense2"]["bias"]
    return {
        "norm1": {"mean": mean, "var": var},
        "norm2": {"mean": second.mean(0), "var": second.var(0)},
    }


@pytest.mark.faults
@pytest.mark.parametrize("batch_size", [None, 1, 5, 7, 100])
def test_row_43_statistics_are_those_by_hand_whatever_the_batch_size(batch_size: int | None) -> None:
    given = variables(0)
    found = problem().recompute_stats(given["params"], given["batch_stats"], batch_size=batch_size)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-6), found, by_hand(given["params"])
    )


def test_statistics_do_not_depend_on_those_that_came_in() -> None:
    given = variables(0)
    others = jax.tree.map(lambda x: np.abs(x) * 40 + 7, given["batch_stats"])
    a, b = (problem().recompute_stats(given["params"], stats) for stats in (given["batch_stats"], others))
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_stream_has_the_statistics_of_its_arrays() -> None:
    given = variables(0)
    batches = [(X[i : i + 6], Y[i : i + 6]) for i in range(0, 23, 6)]
    streamed = Problem(loss, train=Stream(lambda: iter(batches)), update_stats=flax_statistics(NET))
    a, b = (p.recompute_stats(given["params"], given["batch_stats"]) for p in (streamed, problem()))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), a, b)


def test_statistics_of_nnx_are_those_of_linen() -> None:
    model, given = Model(0), variables(0)["params"]
    for name in ("dense1", "dense2"):
        layer = getattr(model, name)
        layer.kernel[...], layer.bias[...] = (
            jnp.asarray(given[name]["kernel"]),
            jnp.asarray(given[name]["bias"]),
        )
    for name in ("norm1", "norm2"):
        layer = getattr(model, name)
        layer.scale[...], layer.bias[...] = (
            jnp.asarray(given[name]["scale"]),
            jnp.asarray(given[name]["bias"]),
        )
    graph, params, stats = nnx.split(model, nnx.Param, ...)

    def own(point: Any, batch: Any) -> Any:
        merged = nnx.merge(graph, *point)
        merged.eval()
        return jnp.sum((merged(batch[0]) - batch[1]) ** 2, axis=-1)

    found = Problem(own, train=(X, Y), update_stats=flax_statistics(model)).recompute_stats(
        params, stats, batch_size=6
    )
    assert jax.tree.structure(found) == jax.tree.structure(stats)
    for name, layer in by_hand(given).items():
        for key, value in layer.items():
            np.testing.assert_allclose(found[name][key][...], value, rtol=2e-5, atol=2e-6)
    np.testing.assert_array_equal(stats["norm1"]["mean"][...], 0)  # the caller's own stay
    np.testing.assert_array_equal(model.norm1.mean[...], 0)


@pytest.mark.faults
def test_row_43_the_barrier_uses_exact_statistics_at_every_point() -> None:
    a, b = variables(0), variables(1)
    given = [(x["params"], x["batch_stats"]) for x in (a, b)]
    found = loss_barrier(problem(), *given, num_points=3, refine=False, batch_size=5)
    middle = jax.tree.map(lambda x, y: (x + y) / 2, a["params"], b["params"])
    stats = jax.tree.map(lambda x: x.astype(np.float32), by_hand(middle))
    expected = float(np.mean(np.asarray(loss((middle, stats), (X, Y))), dtype=np.float64))
    assert found.losses["train"]["loss"][1] == pytest.approx(expected, rel=1e-5)
    whole = loss_barrier(problem(), *given, num_points=3, refine=False)
    np.testing.assert_allclose(found.losses["train"]["loss"], whole.losses["train"]["loss"], rtol=1e-5)


@pytest.mark.faults
def test_row_43_a_running_mean_with_momentum_is_refused_with_the_way_out() -> None:
    def momentum(point: Any, batch: Any) -> Any:
        given = {"params": point[0], "batch_stats": point[1]}
        return NET.apply(given, batch[0], train=True, mutable=["batch_stats"])[1]["batch_stats"]

    given = variables(0)
    with pytest.raises(ProblemError, match=r"depends on the statistics that came in[\s\S]*flax_statistics"):
        Problem(loss, train=(X, Y), update_stats=momentum).recompute_stats(
            given["params"], given["batch_stats"]
        )


def test_a_layer_that_uses_the_statistics_of_its_batch_is_refused() -> None:
    given = variables(0)
    training = Problem(loss, train=(X, Y), update_stats=flax_statistics(NET, train=True))
    with pytest.raises(ProblemError, match=r"norm1 uses the statistics of its batch[\s\S]*train=False"):
        training.recompute_stats(given["params"], given["batch_stats"])


def test_statistics_of_no_layer_are_refused_by_path() -> None:
    given = variables(0)
    with pytest.raises(ProblemError, match="spectral/sigma"):
        problem().recompute_stats(
            given["params"], {**given["batch_stats"], "spectral": {"sigma": np.ones(1)}}
        )
    with pytest.raises(ConfigurationError, match="not a module of Flax"):
        flax_statistics(loss)  # type: ignore[arg-type]


@pytest.mark.faults
def test_row_43_flax_variables_are_taken_apart_where_the_loss_takes_the_pair() -> None:
    a, b = variables(0), variables(1)
    pairs = [(x["params"], x["batch_stats"]) for x in (a, b)]
    expected = loss_barrier(problem(), *pairs, num_points=3, refine=False)
    for given in ((a, b), [Checkpoint(params=x) for x in (a, b)]):
        found = loss_barrier(problem(), *given, num_points=3, refine=False)
        np.testing.assert_array_equal(found.losses["train"]["loss"], expected.losses["train"]["loss"])
        assert landscape.hessian(problem(), given[0]).dim == landscape.hessian(problem(), pairs[0]).dim
    masked = Checkpoint(params=a, mask=jax.tree.map(lambda x: np.ones(x.shape, bool), a))
    assert landscape.hessian(problem(), masked).dim == landscape.hessian(problem(), pairs[0]).dim


@pytest.mark.faults
def test_row_43_statistics_among_weights_are_constants_or_refused() -> None:
    a, b = variables(0), variables(1)
    whole = Problem(whole_loss, train=(X, Y))
    with pytest.raises(ProblemError, match=r"batch_stats/norm1/mean[\s\S]*flax_statistics\(module"):
        loss_barrier(whole, a, Checkpoint(params=b), num_points=3)
    operator = landscape.hessian(whole, a)
    apart = landscape.hessian(problem(), (a["params"], a["batch_stats"]))
    np.testing.assert_allclose(operator.dense(), apart.dense(), rtol=1e-5, atol=1e-6)
    assert "running statistics are constants" in " ".join(operator.notes)
    kept = loss_barrier(whole, a, b, num_points=3, refine=False, batch_stats="keep")
    assert kept.config["batch_stats"] == "keep"


@pytest.mark.faults
def test_row_43_one_setting_treats_statistics_as_weights() -> None:
    a, b = variables(0), variables(1)
    whole = Problem(whole_loss, train=(X, Y), statistics_are_weights=True)
    assert landscape.hessian(whole, a).dim == sum(x.size for x in arrays_by_path(a).values())
    found = loss_barrier(whole, a, b, num_points=3, refine=False)
    kept = loss_barrier(
        Problem(whole_loss, train=(X, Y)), a, b, num_points=3, refine=False, batch_stats="keep"
    )
    np.testing.assert_array_equal(found.losses["train"]["loss"], kept.losses["train"]["loss"])


def test_collections_types_and_names_of_statistics_are_recognised() -> None:
    _, params, stats = nnx.split(Model(0), nnx.Param, ...)
    assert statistics_paths(params) == []
    assert len(statistics_paths(stats)) == len(statistics_paths(Model(0))) == 4
    one = np.ones(2)
    names = ({"l": {"running_mean": one, "weight": one}}, {"b": {"moving_variance": one, "gamma": one}})
    assert [statistics_paths(x) for x in names] == [["l/running_mean"], ["b/moving_variance"]]
    assert statistics_paths({"bn/~/mean_ema": {"average": one}}) == ["bn%2F~%2Fmean_ema/average"]
    # A posterior's own mean and variance are weights.
    assert statistics_paths({"posterior": {"mean": one, "var": one}}) == []
    assert statistics_paths({"params": {"w": one}}) == []


def test_the_users_own_function_is_traced_once_for_all_points() -> None:
    traces = []

    def update(point: Any, batch: Any) -> Any:
        traces.append(1)
        return {"mean": (batch[0] @ point[0]["w"]).mean(0)}

    own = Problem(
        lambda point, batch: batch[0] @ point[0]["w"] - point[1]["mean"], train=(X, Y), update_stats=update
    )
    for seed in range(3):
        params = {"w": np.random.default_rng(seed).standard_normal(4).astype(np.float32)}
        found = own.recompute_stats(params, {"mean": np.float32(0)})
        assert float(found["mean"]) == pytest.approx(float((X @ params["w"]).mean()), rel=1e-4, abs=1e-5)
    assert len(traces) == 1
