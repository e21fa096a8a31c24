"""Running statistics of modules, recomputed exactly by the module itself."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason='needs PyTorch: pip install "ticketscape[torch]"')

from torch import nn  # noqa: E402
from torch_samples import ResNet18, data_of, settled  # noqa: E402

import landscape  # noqa: E402
from landscape.errors import ProblemError  # noqa: E402
from landscape.torch_bridge import statistics  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small() -> Any:
    return settled(lambda: ResNet18(2, 4))


def by_a_loop(module: Any, inputs: Any) -> dict[str, Any]:
    """Statistics as a loop in torch finds them: layer after layer, over all data, in float64."""
    own = copy.deepcopy(module).double().eval()
    layers = [(name, layer) for name, layer in own.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    with torch.no_grad():
        for _ in layers:  # as often as there are layers: in whatever order they run, the last pass is exact
            for _, layer in layers:
                seen: list[Any] = []
                handle = layer.register_forward_pre_hook(lambda _, x, seen=seen: seen.append(x[0]))
                own(inputs.double())
                handle.remove()
                layer.running_mean.copy_(seen[0].mean((0, 2, 3)))
                layer.running_var.copy_(seen[0].var((0, 2, 3), correction=1))
    return {f"{n}.{k}": getattr(layer, k) for n, layer in layers for k in ("running_mean", "running_var")}


def test_statistics_are_those_of_a_loop_in_torch_for_every_batch_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, data = small(), data_of("resnet18")
    problem = landscape.torch_problem(module, nn.CrossEntropyLoss(), train=data)
    expected = by_a_loop(module, data[0])
    params, stats, _ = problem.form.take(module)
    at_once = problem.recompute_stats(params, stats)
    monkeypatch.setattr(statistics, "_HELD_BYTES", 0)
    for found in (at_once, *(problem.recompute_stats(params, stats, batch_size=size) for size in (1, 4, 6))):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert np.allclose(found[name], value.numpy(), rtol=1e-4, atol=1e-5), name


def test_a_barrier_is_that_of_a_loop_in_torch() -> None:
    a, data = small(), data_of("resnet18")
    b = settled(lambda: ResNet18(2, 4), 7)
    problem = landscape.torch_problem(a, nn.CrossEntropyLoss(), train=data)
    found = landscape.loss_barrier(problem, a, b, num_points=3, refine=False, dtype="float64")
    losses = []
    for alpha in found.alphas:
        point = copy.deepcopy(a).double().eval()
        other = b.double().state_dict()
        mixed = {
            k: v if v.dtype == torch.int64 else v + alpha * (other[k] - v)
            for k, v in point.state_dict().items()
        }
        point.load_state_dict(mixed)
        statistics_of_all = by_a_loop(point, data[0])
        point.load_state_dict({**point.state_dict(), **statistics_of_all})
        with torch.no_grad():
            losses.append(float(nn.functional.cross_entropy(point(data[0].double()), data[1])))
    assert np.allclose(found.losses["train"]["loss"], losses, rtol=1e-7)


def test_a_channel_far_from_zero_keeps_its_variance() -> None:
    module = nn.Sequential(nn.BatchNorm1d(2)).eval()
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0)) * 1e-2 + 1000.0
    problem = landscape.torch_problem(module, nn.MSELoss(), train=(x, torch.zeros(500, 2)))
    found = problem.recompute_stats(*problem.form.take(module)[:2], batch_size=7)
    assert np.allclose(found["0.running_var"], x.double().var(0).numpy(), rtol=1e-5)


@pytest.mark.faults
def test_a_layer_that_normalises_twice_is_named() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)

        def forward(self, x: Any) -> Any:
            return self.norm(self.linear(self.norm(x)))

    module = Twice().eval()
    problem = landscape.torch_problem(module, nn.MSELoss(), train=(torch.randn(4, 3), torch.randn(4, 3)))
    with pytest.raises(ProblemError, match="norm normalises more than once"):
        problem.recompute_stats(*problem.form.take(module)[:2])
