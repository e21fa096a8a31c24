"""Derivatives of modules against `torch.func`: the same numbers, for every kind of network."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason='needs PyTorch: pip install "ticketscape[torch]"')

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from torch import nn  # noqa: E402
from torch_samples import SAMPLES, Causal, Recurrent, Sample, data_of, settled  # noqa: E402

import landscape  # noqa: E402
from landscape.errors import ProblemError  # noqa: E402
from landscape.torch_bridge.derivatives import PLAIN, kernels  # noqa: E402

TOLERANCE = {"float64": 1e-10, "float32": 1e-5}


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    """Small tensors on a busy machine: threads of PyTorch would wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    torch.backends.mha.set_fastpath_enabled(True)


class Oracle:
    """Derivatives by `torch.func` with plain kernels, in one flat vector of the free parameters."""

    def __init__(self, sample: Sample, module: Any, data: Any, dtype: Any) -> None:
        self.sample = sample
        self.module = copy.deepcopy(module).to(dtype)
        self.data = torch.utils._pytree.tree_map(lambda x: x.to(dtype) if x.is_floating_point() else x, data)
        self.params = {n: p.detach() for n, p in sorted(self.module.named_parameters()) if p.requires_grad}

    def outputs(self, params: Any) -> Any:
        return torch.func.functional_call(self.module, params, (self.data[0],))

    def losses(self, params: Any) -> Any:
        inner = self.sample.reference
        if isinstance(self.data, tuple):
            return inner(self.outputs(params), self.data[1])

        class Called(nn.Module):
            def __init__(self, module: Any) -> None:
                super().__init__()
                self.module = module

            def forward(self, batch: Any) -> Any:
                return inner(self.module, batch)

        named = {f"module.{name}": value for name, value in params.items()}
        return torch.func.functional_call(Called(self.module), named, (self.data,))

    def mean(self, params: Any) -> Any:
        return self.losses(params).mean()

    def flat(self, tree: Any) -> np.ndarray:
        return np.concatenate([tree[name].detach().numpy().reshape(-1) for name in self.params])

    def tree(self, vector: np.ndarray) -> Any:
        found, at = {}, 0
        for name, like in self.params.items():
            found[name] = torch.tensor(vector[at : at + like.numel()], dtype=like.dtype).reshape(like.shape)
            at += like.numel()
        return found

    def gradient(self) -> np.ndarray:
        return self.flat(torch.func.grad(self.mean)(self.params))

    def hessian(self, vector: np.ndarray) -> np.ndarray:
        return self.flat(torch.func.jvp(torch.func.grad(self.mean), (self.params,), (self.tree(vector),))[1])

    def fisher(self, vector: np.ndarray) -> np.ndarray:
        values, pushed = torch.func.jvp(self.losses, (self.params,), (self.tree(vector),))
        return self.flat(torch.func.vjp(self.losses, self.params)[1](pushed / len(values))[0])

    def gauss_newton(self, vector: np.ndarray) -> np.ndarray:
        z, pushed = torch.func.jvp(self.outputs, (self.params,), (self.tree(vector),))
        total = torch.func.grad(lambda z: self.sample.reference(z, self.data[1]).mean())
        curved = torch.func.jvp(total, (z,), (pushed,))[1]
        return self.flat(torch.func.vjp(self.outputs, self.params)[1](curved)[0])


def alike(found: np.ndarray, expected: np.ndarray, dtype: str) -> bool:
    return float(np.linalg.norm(found - expected)) <= TOLERANCE[dtype] * float(np.linalg.norm(expected))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", SAMPLES)
def test_losses_and_products_are_those_of_torch_func(name: str, dtype: str) -> None:
    sample = SAMPLES[name]
    module, data = settled(sample.make), data_of(name)
    problem = landscape.torch_problem(module, sample.loss, train=data)
    operators = {"hessian": landscape.hessian(problem, module, dtype=dtype)}
    operators["fisher"] = landscape.fisher(problem, module, dtype=dtype)
    if problem.outputs is not None:
        operators["gauss_newton"] = landscape.gauss_newton(problem, module, dtype=dtype)
    vector = np.random.default_rng(2).standard_normal(operators["hessian"].dim).astype(dtype)

    torch.backends.mha.set_fastpath_enabled(False)  # which functorch's tangents do not switch off
    with kernels(PLAIN):
        oracle = Oracle(sample, module, data, getattr(torch, dtype))
        assert alike(
            problem.per_example(module, dtype=dtype)["loss"], oracle.losses(oracle.params).numpy(), dtype
        )
        assert alike(operators["hessian"].gradient(), oracle.gradient(), dtype)
        for kind, operator in operators.items():
            assert alike(operator.matvec(vector), getattr(oracle, kind)(vector), dtype), kind


def test_jax_differentiates_the_function_as_its_own() -> None:
    """All five operations and their transposes, against dense derivatives by PyTorch."""
    module = settled(lambda: nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)))
    sample, data = SAMPLES["two outputs"], (torch.randn(3, 2), torch.randn(3, 2))
    problem = landscape.torch_problem(module, nn.MSELoss(), train=data)
    oracle = Oracle(sample, module, data, torch.float64)
    dense = torch.func.hessian(lambda v: oracle.losses(unflattened(v, oracle)))(
        torch.cat([value.reshape(-1) for value in oracle.params.values()])
    ).numpy()
    rng = np.random.default_rng(0)
    t, s, u = rng.standard_normal(17), rng.standard_normal(17), rng.standard_normal(3)
    expected = np.einsum("bij,i,j->b", dense, t, s)
    with jax.enable_x64(True):
        batch = jax.tree.map(lambda x: x.numpy().astype(np.float64), data)
        point = {name: value.numpy() for name, value in oracle.params.items()}
        ts, ss = ({k: v.numpy() for k, v in oracle.tree(v).items()} for v in (t, s))

        def losses(params: Any) -> Any:
            return problem.loss(params, batch)

        def along(params: Any) -> Any:
            return jax.jvp(losses, (params,), (ts,))[1]

        twice = jax.jvp(along, (point,), (ss,))[1]
        assert np.allclose(twice, expected, rtol=1e-10)

        def pulled(params: Any) -> Any:
            return jax.vjp(losses, params)[1](u)[0]

        def inner(tree: Any, other: Any) -> Any:
            return sum(jnp.vdot(tree[name], other[name]) for name in tree)

        forward_over_reverse = inner(jax.jvp(pulled, (point,), (ts,))[1], ss)
        reverse_over_reverse = inner(jax.grad(lambda params: inner(pulled(params), ts))(point), ss)
        reverse_over_forward = inner(jax.grad(lambda params: along(params) @ u)(point), ss)
        for found in (forward_over_reverse, reverse_over_reverse, reverse_over_forward):
            assert np.isclose(found, expected @ u, rtol=1e-10)

        # Transposes of second in the cotangent, and of the second derivative along two tangents.
        second = jax.linear_transpose(
            lambda v: jax.jvp(lambda p: jax.vjp(losses, p)[1](v)[0], (point,), (ts,))[1], u
        )
        assert np.allclose(second(ss)[0], expected, rtol=1e-10)
        bilinear = jax.linear_transpose(lambda tangent: jax.jvp(along, (point,), (tangent,))[1], ss)
        assert np.isclose(inner(bilinear(u)[0], ss), expected @ u, rtol=1e-10)
        rows = jax.vmap(lambda v: jax.vjp(losses, point)[1](v)[0]["0.bias"])(np.eye(3))
        assert np.allclose(rows.sum(0), jax.grad(lambda p: losses(p).sum())(point)["0.bias"], rtol=1e-10)


def unflattened(vector: Any, oracle: Oracle) -> Any:
    found, at = {}, 0
    for name, like in oracle.params.items():
        found[name] = vector[at : at + like.numel()].reshape(like.shape)
        at += like.numel()
    return found


def test_a_third_derivative_is_refused() -> None:
    module = settled(lambda: nn.Linear(2, 2))
    problem = landscape.torch_problem(module, nn.MSELoss(), train=(torch.ones(2, 2), torch.ones(2, 2)))
    point = {name: value.detach().numpy() for name, value in module.named_parameters()}
    batch = (np.ones((2, 2), np.float32),) * 2

    def mean(params: Any) -> Any:
        return problem.loss(params, batch).mean()

    def along(function: Any) -> Any:
        return lambda params: jax.jvp(function, (params,), (params,))[1]

    with pytest.raises(ProblemError, match="third derivative"):
        along(along(along(mean)))(point)


def test_fused_attention_takes_the_route_with_plain_attention_and_says_so() -> None:
    module = settled(Causal)
    problem = landscape.torch_problem(
        module, SAMPLES["causal transformer"].loss, train=data_of("causal transformer")
    )
    operator = landscape.hessian(problem, module)
    operator.gradient()
    operator.matvec(np.ones(operator.dim, np.float32))
    assert problem.derivatives["second"] == "forward over reverse, plain attention"
    assert "second derivatives: forward over reverse, plain attention" in operator.notes
    assert operator.stats["derivatives"]["reverse"] == "reverse, fused kernels"


def test_the_recurrent_kernels_of_onednn_take_another_route_in_float32() -> None:
    module = settled(Recurrent)
    problem = landscape.torch_problem(module, nn.CrossEntropyLoss(), train=data_of("lstm"))
    operator = landscape.hessian(problem, module)
    operator.matvec(np.ones(operator.dim, np.float32))
    if torch.backends.mkldnn.is_available():
        assert problem.derivatives["second"] == "forward over reverse, plain kernels"


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Any) -> Any:
        return 2 * ctx.saved_tensors[0] * slope


class _Wrong(torch.autograd.Function):
    """A rule for dual numbers that is not that of the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        return x.square()

    @staticmethod
    def backward(ctx: Any, slope: Any) -> Any:
        return 2 * ctx.saved_tensors[0] * slope

    @staticmethod
    def jvp(ctx: Any, tangent: Any) -> Any:
        return 3 * ctx.saved_tensors[0] * tangent


class Custom(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function.apply(self.linear(x))


@pytest.mark.faults
def test_an_operation_without_second_derivatives_is_named_with_what_still_works() -> None:
    module = settled(lambda: Custom(_Once))
    problem = landscape.torch_problem(module, nn.MSELoss(), train=(torch.randn(4, 3), torch.randn(4, 2)))
    with pytest.raises(ProblemError, match=r"Custom: .*second derivative") as caught:
        landscape.hessian(problem, module).matvec(np.ones(8))
    assert "barriers" in str(caught.value)
    assert (
        landscape.loss_barrier(problem, module, settled(lambda: Custom(_Once), 1), num_points=3).status
        == "ok"
    )


@pytest.mark.faults
def test_a_wrong_rule_for_dual_numbers_is_not_used() -> None:
    module = settled(lambda: Custom(_Wrong))
    data = (torch.randn(4, 3), torch.randn(4, 2))
    problem = landscape.torch_problem(module, nn.MSELoss(), train=data)
    operator = landscape.hessian(problem, module, dtype="float64")
    operator.gradient()
    vector = np.arange(operator.dim, dtype=np.float64)
    product = operator.matvec(vector)
    assert problem.derivatives["second"] == "reverse over reverse, fused kernels"
    plain = Oracle(SAMPLES["two outputs"], module, data, torch.float64)
    square = settled(lambda: Custom(_Once))
    square.load_state_dict(module.state_dict())
    plain.module.forward = lambda x: plain.module.linear(x).square()
    assert alike(product, plain.hessian(vector), "float64")


def test_products_do_not_depend_on_batches_threads_or_repetition() -> None:
    """200 products in a compiled loop, whose calls come from the threads of jax."""
    sample = SAMPLES["convolutional"]
    module, data = settled(sample.make), data_of("convolutional")
    problem = landscape.torch_problem(module, sample.loss, train=data)
    operator = landscape.hessian(problem, module)
    vector = np.random.default_rng(0).standard_normal(operator.dim).astype(np.float32)
    first = operator.matvec(vector)
    assert np.array_equal(first, operator.matvec(vector))
    in_batches = landscape.hessian(problem, module, batch_size=2).matvec(vector)
    assert np.linalg.norm(in_batches - first) <= 1e-5 * np.linalg.norm(first)

    params, stats, _ = problem.form.take(module)
    batch = jax.tree.map(lambda x: x.numpy(), data)

    @jax.jit
    def repeated(params: Any, tangent: Any) -> Any:
        slope = jax.grad(lambda params: problem.loss((params, stats), batch).mean())

        def step(carried: Any, _: Any) -> Any:
            product = jax.jvp(slope, (params,), (carried,))[1]
            length = jnp.sqrt(sum(jnp.vdot(x, x) for x in product.values()))
            return {name: value / length for name, value in product.items()}, length

        return jax.lax.scan(step, tangent, None, length=200)

    tangent = {name: jnp.ones_like(value) for name, value in params.items()}
    top, lengths = repeated(params, tangent)
    again, _ = repeated(params, tangent)
    assert all(np.array_equal(top[name], again[name]) for name in top)
    assert np.isclose(lengths[-1], lengths[-2], rtol=1e-3)
