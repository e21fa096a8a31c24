"""Modules of PyTorch: a product and a barrier beside PyTorch's own, and eigenvalues beside other tools.

Run from the repository root: ``python -m benchmarks.pytorch [--quick]``. PyHessian, hessian-eigenthings and
curvlinops take part where they are installed. All run in one process, on the same module and data; ratios are
medians over rounds in which everything runs in turn.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn

import landscape
from benchmarks.timing import interleaved, machine, median, ratio

TOP = 5
TRACE = 99  # products that each tool may spend on the trace


class Block(nn.Module):
    """The basic block of a residual network (He et al. 2016)."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        self.shortcut = nn.Sequential()
        if stride != 1 or inner != outer:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer)
            )

    def forward(self, x: Any) -> Any:
        """Return the block's output."""
        found = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(found + self.shortcut(x))


class ResNet18(nn.Module):
    """ResNet-18 for images of 32×32 and less; width 64 is the usual one, of 11.2 million parameters."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        sizes = [width, width, 2 * width, 4 * width, 8 * width]
        blocks: list[nn.Module] = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        for number, (inner, outer) in enumerate(itertools.pairwise(sizes)):
            blocks += [Block(inner, outer, 2 if number else 1), Block(outer, outer, 1)]
        self.body = nn.Sequential(*blocks)
        self.fc = nn.Linear(sizes[-1], 10)

    def forward(self, x: Any) -> Any:
        """Return the logits."""
        return self.fc(self.body(x).mean((2, 3)))


def line(name: str, value: str, goal: str = "") -> None:
    """Print one row."""
    print(f"{name:<62} {value:>22}  {goal}", flush=True)


def made(width: int, count: int, size: int, *, steps: int = 0, seed: int = 0) -> tuple[Any, Any]:
    """Return a network, trained for some steps, and its images and labels."""
    torch.manual_seed(seed)
    module, data = ResNet18(width), (torch.randn(count, 3, size, size), torch.randint(0, 10, (count,)))
    optimiser = torch.optim.SGD(module.parameters(), 0.05, momentum=0.9)
    for _ in range(steps):
        optimiser.zero_grad()
        F.cross_entropy(module(data[0]), data[1]).backward()
        optimiser.step()
    return module.eval(), data


def products(width: int, count: int, size: int, repeats: int) -> None:
    """Compare a Hessian product with that of ``torch.func``."""
    module, data = made(width, count, size)
    problem = landscape.torch_problem(module, nn.CrossEntropyLoss(), train=data)
    operator = landscape.hessian(problem, module, batch_size=count)
    vector = np.random.default_rng(0).standard_normal(operator.dim).astype(np.float32)
    params = {name: value.detach() for name, value in module.named_parameters()}
    shaped = operator.unflatten(vector)
    tangents = {name: torch.from_numpy(np.array(shaped[name])) for name in params}

    def mean(values: Any) -> Any:
        return F.cross_entropy(torch.func.functional_call(module, values, (data[0],)), data[1])

    def own() -> Any:
        found = torch.func.jvp(torch.func.grad(mean), (params,), (tangents,))[1]
        return np.concatenate([found[name].numpy().reshape(-1) for name in sorted(found)])

    ours, theirs = operator.matvec(vector), own()
    off = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    seconds = interleaved({"ours": lambda: operator.matvec(vector), "torch": own}, repeats=repeats)
    line(
        f"ResNet-18, {operator.dim:,} parameters, {count} images: torch.func",
        f"{median(seconds['torch']):.2f} s",
    )
    line("  Hessian product / torch.func's", f"{ratio(seconds['ours'], seconds['torch']):.2f}", "<= 1.1")
    line("  difference of the two, relative", f"{off:.1e}")


def barrier(width: int, count: int, size: int, repeats: int) -> None:
    """Compare a barrier of 25 points with 25 forward passes."""
    (a, data), (b, _) = (made(width, count, size, seed=seed) for seed in (0, 1))
    problem = landscape.torch_problem(a, nn.CrossEntropyLoss(), train=data)

    def passes() -> None:
        with torch.no_grad():
            for _ in range(25):
                F.cross_entropy(a(data[0]), data[1])

    def ours() -> None:
        landscape.loss_barrier(problem, a, b, refine=False, batch_stats="keep", num_resamples=100)

    seconds = interleaved({"ours": ours, "torch": passes}, repeats=repeats)
    line("25 forward passes in torch", f"{median(seconds['torch']):.2f} s")
    line("  barrier of 25 points / them", f"{ratio(seconds['ours'], seconds['torch']):.2f}", "<= 1.1")


class Counted:
    """Counts the calls of a function that computes one product."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute one product."""
        self.calls += 1
        return self.function(*args, **kwargs)


Found = tuple[str, Callable[[], tuple[np.ndarray, int]], Callable[[], tuple[float, int]]]


def rivals(module: Any, data: Any) -> Iterator[Found]:
    """Yield each tool that is installed: name, top eigenvalues and trace, each with its products."""
    for make in (_pyhessian, _eigenthings, _curvlinops):
        try:
            yield make(module, data)
        except ImportError as error:
            line(f"{make.__name__.removeprefix('_')}: not installed", str(error.name))


def _pyhessian(module: Any, data: Any) -> Found:
    tool = importlib.import_module("pyhessian.hessian")

    def counting() -> tuple[Any, Counted]:
        product = Counted(getattr(tool.hessian_vector_product, "function", tool.hessian_vector_product))
        tool.hessian_vector_product = product
        return tool.hessian(module, nn.CrossEntropyLoss(), data=data, cuda=False), product

    def top() -> tuple[np.ndarray, int]:
        found, product = counting()
        values, _ = found.eigenvalues(top_n=TOP)
        return np.sort(values)[::-1], product.calls

    def trace() -> tuple[float, int]:
        found, product = counting()
        return float(np.mean(found.trace(maxIter=TRACE))), product.calls

    return "PyHessian, its defaults", top, trace


def _eigenthings(module: Any, data: Any) -> Found:
    tool = importlib.import_module("hessian_eigenthings")

    def operator() -> tuple[Any, Counted]:
        found = tool.HessianOperator(module, [data], tool.supervised_loss(nn.CrossEntropyLoss()))
        found.matvec = Counted(found.matvec)
        return found, found.matvec

    def top() -> tuple[np.ndarray, int]:
        found, product = operator()
        result = tool.lanczos(found, k=TOP, max_iter=60, which="LA", seed=0)
        return np.sort(result.eigenvalues.numpy())[::-1], product.calls

    def trace() -> tuple[float, int]:
        found, product = operator()
        result = tool.trace(found, num_matvecs=TRACE, seed=0)
        return float(result.estimate), product.calls

    return "hessian-eigenthings, 60 steps", top, trace


def _curvlinops(module: Any, data: Any) -> Found:
    tool = importlib.import_module("curvlinops")
    params = {name: value for name, value in module.named_parameters()}

    def operator() -> Any:
        try:
            return tool.HessianLinearOperator(module, nn.CrossEntropyLoss(), params, [data])
        except (AttributeError, TypeError):  # before version 3 a list
            return tool.HessianLinearOperator(module, nn.CrossEntropyLoss(), list(params.values()), [data])

    def top() -> tuple[np.ndarray, int]:
        inner = operator().to_scipy()
        product = Counted(inner.matvec)
        counted = LinearOperator(inner.shape, matvec=product, dtype=np.float32)
        values = eigsh(counted, k=TOP, which="LA", tol=1e-3, return_eigenvectors=False)
        return np.sort(values)[::-1], product.calls

    def trace() -> tuple[float, int]:
        return float(tool.hutchpp_trace(operator(), num_matvecs=TRACE)), TRACE

    return "curvlinops with SciPy's eigsh, tol 1e-3", top, trace


def _ours(problem: Any, module: Any) -> Found:
    def top() -> tuple[np.ndarray, int]:
        operator = landscape.hessian(problem, module)
        found = landscape.top_eigenpairs(operator, TOP, tolerance=1e-3)
        return found.eigenvalues, operator.num_matvecs

    def trace() -> tuple[float, int]:
        operator = landscape.hessian(problem, module)
        found = landscape.trace(operator, max_matvecs=TRACE, relative_error=1e-6)
        return float(found.value), operator.num_matvecs

    return "landscape, certified to 1e-3", top, trace


def spectra(width: int, count: int, size: int, steps: int) -> None:
    """Compare top eigenvalues and traces with a long reference in float64."""
    module, data = made(width, count, size, steps=steps)
    problem = landscape.torch_problem(module, nn.CrossEntropyLoss(), train=data)
    precise = landscape.hessian(problem, module, dtype="float64")
    reference = landscape.top_eigenpairs(precise, TOP, tolerance=1e-6).eigenvalues
    exact = float(landscape.trace(precise, max_matvecs=600, relative_error=3e-3).value)
    print(f"\ntop {TOP} eigenvalues of {precise.dim:,} parameters, {count} images: {np.round(reference, 4)}")
    for name, top, trace in [_ours(problem, module), *rivals(module, data)]:
        top()  # what is compiled, or chosen, at the first use
        began = time.perf_counter()
        values, used = top()
        seconds = time.perf_counter() - began
        error = float(np.max(np.abs(values - reference)) / reference[0])
        line(f"{name}: products, seconds, error", f"{used}, {seconds:.1f} s, {error:.0e}")
        began = time.perf_counter()
        value, used = trace()
        seconds = time.perf_counter() - began
        line("  trace: products, seconds, error", f"{used}, {seconds:.1f} s, {abs(value / exact - 1):.0e}")


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="narrow networks, few rounds")
    quick = parser.parse_args().quick
    print(machine(), f"torch {torch.__version__}, {torch.get_num_threads()} threads", sep="\n")
    width, repeats = (16, 3) if quick else (64, 5)
    products(width, 64, 32, repeats)
    barrier(width, 64, 32, repeats)
    spectra(4, 64, 8, 60)


if __name__ == "__main__":
    main()
