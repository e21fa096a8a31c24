"""Bad input for curvature: each a clear refusal, or an exact, labelled answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_samples import INPUTS, LABELS, NaN, linear_problem, tanh_params, tanh_problem

import landscape
from landscape import (
    Problem,
    diagonal,
    fisher,
    frobenius_norm,
    gauss_newton,
    gradient_alignment,
    hessian,
    spectral_density,
    top_eigenpairs,
    trace,
)
from landscape.curvature import loss_operator
from landscape.errors import (
    ConfigurationError,
    DeviceMemoryError,
    InputError,
    MaskError,
    NonFiniteError,
    ProblemError,
)

pytestmark = pytest.mark.faults
W = {"w": np.ones(3, np.float32)}


def test_weights_that_are_not_finite_are_refused_and_can_be_let_through() -> None:
    params = tanh_params()
    params["a"]["bias"][0] = np.nan
    with pytest.raises(NonFiniteError, match="a/bias"):
        hessian(tanh_problem(), params)
    let = trace(hessian(tanh_problem(), params, allow_nonfinite=True), method="hutchinson")
    assert let.status == "non-finite"


def test_a_mask_with_nothing_left_is_refused() -> None:
    empty = jax.tree.map(lambda x: np.zeros(x.shape, bool), tanh_params())
    with pytest.raises(MaskError, match="nothing is left"):
        hessian(tanh_problem(), tanh_params(), mask=empty)


def test_a_mask_of_another_shape_is_refused_by_path() -> None:
    mask = jax.tree.map(lambda x: np.ones(x.shape, bool), tanh_params())
    mask["b"]["bias"] = np.ones(7, bool)
    with pytest.raises(MaskError, match="b/bias"):
        hessian(tanh_problem(), tanh_params(), mask=mask)


def test_a_layer_without_free_entries_is_a_note_with_its_name() -> None:
    mask = jax.tree.map(lambda x: np.ones(x.shape, bool), tanh_params())
    mask["b"]["bias"] = np.zeros(3, bool)
    operator = hessian(tanh_problem(), tanh_params(), mask=mask)
    assert "b/bias" in operator.subject.notes[0]
    assert "b/bias" not in operator.layers()


def test_patterns_that_match_nothing_are_refused_with_the_paths_there_are() -> None:
    with pytest.raises(ConfigurationError, match="a/kernel"):
        hessian(tanh_problem(), tanh_params(), where="Dense_0/*")


def test_integer_parameters_alone_are_refused() -> None:
    with pytest.raises(InputError, match="floating-point"):
        hessian(linear_problem(), {"w": np.arange(3)})


def test_a_loss_with_dropout_is_refused() -> None:
    rng = np.random.default_rng(0)

    def loss(params: Any, batch: Any) -> Any:
        return (batch[0] @ params["w"] + rng.normal()) ** 2

    with pytest.raises(ProblemError, match="differ"):
        hessian(Problem(loss, train=(INPUTS, LABELS)), W)


def test_a_loss_that_mixes_examples_is_refused() -> None:
    def loss(params: Any, batch: Any) -> Any:
        z = batch[0] @ params["w"]
        return (z - z.mean()) ** 2

    with pytest.raises(ProblemError, match="depends on the other examples"):
        hessian(Problem(loss, train=(INPUTS, LABELS)), W)


def callback_loss(params: Any, batch: Any) -> Any:
    shape = jax.ShapeDtypeStruct((batch[0].shape[0],), jnp.float32)
    return jax.pure_callback(lambda x, w: (x @ w).astype(np.float32), shape, batch[0], params["w"])


@jax.custom_jvp
def once(x: jax.Array) -> jax.Array:
    return x**2


@once.defjvp
def once_jvp(primals: Any, tangents: Any) -> Any:
    shape = jax.ShapeDtypeStruct(primals[0].shape, primals[0].dtype)
    slope = jax.pure_callback(lambda x: np.asarray(2 * x), shape, primals[0])
    return once(primals[0]), slope * tangents[0]


@pytest.mark.parametrize("loss", [callback_loss, lambda p, b: once(b[0] @ p["w"])], ids=["first", "second"])
def test_a_loss_without_derivatives_is_refused_with_the_reason(loss: Any) -> None:
    with pytest.raises(ProblemError, match="cannot be differentiated"):
        hessian(Problem(loss, train=(INPUTS, LABELS)), W)


def test_a_problem_without_outputs_has_no_gauss_newton_matrix_but_an_empirical_fisher() -> None:
    problem = Problem(linear_problem().loss, train=(INPUTS, INPUTS[:, 0]))
    with pytest.raises(ProblemError, match="outputs"):
        gauss_newton(problem, W)
    with pytest.raises(ProblemError, match="outputs"):
        fisher(problem, W, labels="model")
    assert fisher(problem, W).dense().shape == (3, 3)


def test_outputs_that_do_not_compose_to_the_loss_are_refused() -> None:
    outputs = landscape.Outputs(lambda p, b: b[0] @ p["w"], lambda z, _: z**2)
    problem = Problem(linear_problem().loss, train=(INPUTS, INPUTS[:, 0]), outputs=outputs)
    with pytest.raises(ProblemError, match="not the loss of the problem"):
        gauss_newton(problem, W)


def test_a_likelihood_that_is_not_named_or_not_known_is_refused() -> None:
    good = linear_problem().outputs
    assert good is not None
    outputs = landscape.Outputs(good.model, good.loss)
    problem = Problem(linear_problem().loss, train=(INPUTS, INPUTS[:, 0]), outputs=outputs)
    with pytest.raises(ProblemError, match="no distribution"):
        fisher(problem, W, labels="model")
    with pytest.raises(ProblemError, match="likelihood"):
        landscape.Outputs(good.model, good.loss, likelihood="poisson")


def test_one_example_and_batches_larger_than_the_data_are_exact() -> None:
    problem = Problem(lambda p, b: 0.5 * (b @ p["w"]) ** 2, train=INPUTS[:1])
    expected = np.outer(INPUTS[0], INPUTS[0])
    np.testing.assert_allclose(hessian(problem, W, batch_size=64).dense(), expected, rtol=1e-5)


@pytest.mark.parametrize("subset", [0, 12, [11], [-1], "all", [0.5]])
def test_subsets_that_are_not_examples_are_refused(subset: Any) -> None:
    with pytest.raises(ConfigurationError, match="subset"):
        hessian(tanh_problem(), tanh_params(), subset=subset)


def test_vectors_that_do_not_fit_are_refused_with_the_shape() -> None:
    operator = hessian(tanh_problem(), tanh_params())
    with pytest.raises(InputError, match="31"):
        operator.matvec(np.ones(30))
    with pytest.raises(InputError, match="real numbers"):
        operator.matvec(np.ones(31) * 1j)


def test_a_dtype_or_split_or_method_that_is_unknown_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="dtype"):
        hessian(tanh_problem(), tanh_params(), dtype="float16")
    with pytest.raises(ProblemError, match="test"):
        hessian(tanh_problem(), tanh_params(), split="test")
    with pytest.raises(ConfigurationError, match="method"):
        trace(np.eye(3), method="magic")


def test_a_device_without_memory_names_the_batch_size_and_half_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = hessian(tanh_problem(), tanh_params(), batch_size=8)

    def full(*_: Any) -> None:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    monkeypatch.setattr(operator, "_summed", full)
    with pytest.raises(DeviceMemoryError, match="8 examples") as caught:
        operator.matvec(np.ones(31))
    assert "--batch-size 4" in str(caught.value.hint)


def test_a_matrix_that_is_not_square_or_not_real_is_no_operator() -> None:
    with pytest.raises(InputError, match="square"):
        trace(np.ones((2, 3)))
    with pytest.raises(InputError, match="real"):
        trace(np.eye(3, dtype=int))


def test_a_matrix_too_large_to_form_is_refused() -> None:
    problem = Problem(lambda p, b: (b * p.sum()) ** 2, train=np.ones(2, np.float32))
    with pytest.raises(ConfigurationError, match="20,001"):
        hessian(problem, np.zeros(20_001, np.float32)).dense()


def test_the_constructor_too_names_a_batch_size_that_can_be_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    monkeypatch.setattr(loss_operator, "Resident", full)
    with pytest.raises(DeviceMemoryError, match="11 examples") as caught:
        hessian(tanh_problem(), tanh_params())
    assert "--batch-size 5" in str(caught.value.hint)
    with pytest.raises(DeviceMemoryError, match="6 examples"):
        hessian(tanh_problem(), tanh_params(), subset=6)


def test_a_leaf_in_a_list_is_named_by_its_path_and_by_patterns() -> None:
    params = [{"w": np.ones(2, np.float32)}, {"w": np.full(2, 2, np.float32)}]
    problem = Problem(
        lambda p, b: (b @ p[0]["w"]) ** 2 + 3 * (b @ p[1]["w"]) ** 2, train=np.eye(2, dtype=np.float32)
    )
    assert hessian(problem, params).config["paths"] == ["[0]/w", "[1]/w"]
    np.testing.assert_allclose(hessian(problem, params, where="[1]/w").dense(), 3 * np.eye(2))
    np.testing.assert_allclose(hessian(problem, params, where="[0]/*").dense(), np.eye(2))
    assert hessian(problem, params, where="*/w").dim == 4
    with pytest.raises(ConfigurationError, match="matches"):
        hessian(problem, params, where="[2]/w")


def test_an_alignment_of_products_that_are_not_finite_prints_and_says_so() -> None:
    problem = Problem(
        lambda p, b: jnp.log(p["w"][0] - 1) * (b @ p["w"]) ** 2, train=np.eye(2, dtype=np.float32)
    )
    found = gradient_alignment(problem, {"w": np.ones(2, np.float32)}, k=2)
    assert found.status == "non-finite"
    assert "none" in str(found)


def test_an_alignment_with_a_zero_hessian_has_no_ratios_of_zeros() -> None:
    outputs = landscape.Outputs(lambda p, b: b @ p["w"], lambda z, _: 0 * z)
    problem = Problem(lambda p, b: 0 * (b @ p["w"]), train=np.eye(2, dtype=np.float32), outputs=outputs)
    found = gradient_alignment(problem, {"w": np.zeros(2, np.float32)}, k=2)  # warnings are errors
    assert found.status == "ok"
    assert "Gauss-Newton" not in str(found)


def measures(operator: Any) -> list[landscape.Result]:
    return [
        top_eigenpairs(operator, 1),
        trace(operator),
        diagonal(operator),
        frobenius_norm(operator),
        spectral_density(operator, num_steps=2),
    ]


def test_notes_on_the_parameters_reach_every_result() -> None:
    def loss(params: Any, batch: Any) -> Any:
        return params["n"] * jnp.abs(params["c"]) * (batch @ params["w"]) ** 2

    params = {
        "n": np.int32(3),
        "c": np.complex64(1 + 1j),
        "idle": np.ones(3, np.float32),
        "w": np.ones(2, np.float32),
        "x": np.ones(1, np.float32),
    }
    problem = Problem(loss, train=np.eye(2, dtype=np.float32))
    mask = jax.tree.map(lambda x: np.ones(np.shape(x), bool), params)
    mask["x"] = np.zeros(1, bool)
    for result in measures(hessian(problem, params, mask=mask)):
        text = " ".join(result.warnings)
        assert "whole numbers are constants: n" in text
        assert "complex numbers are constants: c" in text
        assert "nothing is left of x" in text
        assert "the loss ignores idle, x: exact zeros" in text
    assert not hessian(tanh_problem(), tanh_params()).notes


def bad_problem() -> Problem:
    """Return a problem whose loss is finite and whose derivatives are not."""

    def loss(params: Any, batch: Any) -> Any:
        return jnp.sqrt(jnp.abs(params["w"][0] * 0.0)) + (batch @ params["w"]) ** 2

    return Problem(loss, train=np.eye(3, dtype=np.float32))


def numbers_in(value: Any) -> list[float]:
    """Return every number of a JSON form."""
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers_in(item)]
    if isinstance(value, list):
        return [number for item in value for number in numbers_in(item)]
    return [value] if isinstance(value, float) else []


@pytest.mark.parametrize("measure", ["pairs", "trace", "diagonal", "norm", "density", "table", "alignment"])
def test_products_that_are_not_finite_leave_no_value_bound_or_text_that_pretends(measure: str) -> None:
    operator = hessian(bad_problem(), W)
    results: dict[str, Callable[[], Any]] = {
        "pairs": lambda: top_eigenpairs(operator, 1),
        "trace": lambda: trace(operator, method="exact", num_groups=3),
        "diagonal": lambda: diagonal(operator),
        "norm": lambda: frobenius_norm(operator),
        "density": lambda: spectral_density(operator, num_steps=2),
        "table": lambda: landscape.curvature_table(bad_problem(), [W], k=1, density=True),
        "alignment": lambda: gradient_alignment(bad_problem(), W, k=1),
    }
    found = results[measure]()
    assert found.status == "non-finite"
    text = str(found)
    for pretence in ("nan", "exactly", "inf ", "0 pairs", "first 0", "0 finite"):
        assert pretence not in f"{text} {' '.join(found.warnings)}"
    data = found.to_dict()["data"]
    for name in ("value", "interval", "standard_error", "eigenvalues", "residuals", "scale", "values"):
        assert not numbers_in(data.get(name)), name
    assert data.get("num_probes", 0) == 0


def test_the_probes_before_a_bad_product_are_not_printed_as_the_whole() -> None:
    found = trace(NaN(8), method="hutchinson")
    assert "from the 8 before a product that was not finite" in str(found)
    some = diagonal(NaN(8), method="exact")
    assert "8 of 200 entries" in str(some)
    assert "nan" not in str(some)


def test_a_scale_of_bad_products_has_no_correlation() -> None:
    std = {"w": np.array([1.0, 2.0, 3.0], np.float32)}
    given = landscape.Checkpoint(params=W, std=std)
    found = landscape.scale_curvature(bad_problem(), given)
    assert found.status == "non-finite"
    assert all(record["rank"] is None and record["linear_corrected"] is None for record in found.records)
    assert "not defined" in str(found)
