"""Networks of PyTorch in and out: modules, state dicts, files, names, and the module untouched."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason='needs PyTorch: pip install "ticketscape[torch]"')

from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402
from torch_samples import SAMPLES, Causal, Convolutional, ResNet18, data_of, frozen, settled  # noqa: E402

import landscape  # noqa: E402
from landscape import Metric  # noqa: E402
from landscape.surfaces.directions import filter_normalised  # noqa: E402
from landscape.surfaces.frames import Origin  # noqa: E402
from landscape.torch_bridge import data as reading  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def problem_of(name: str, module: Any) -> Any:
    return landscape.torch_problem(module, SAMPLES[name].loss, train=data_of(name))


def mean_loss(module: Any, data: Any) -> float:
    with torch.no_grad():
        return float(nn.functional.cross_entropy(copy.deepcopy(module).eval()(data[0]), data[1]))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One network in every form in which it can be given."""
    folder, module = tmp_path_factory.mktemp("networks"), settled(Convolutional, 3)
    state = module.state_dict()
    torch.save(state, folder / "net.pt")
    torch.save(
        {"epoch": 3, "model_state_dict": {f"module.{k}": v for k, v in state.items()}}, folder / "ddp.pth"
    )
    lightning = {f"model._orig_mod.{k}": v for k, v in state.items()}
    torch.save(
        {"state_dict": lightning, "epoch": 1, "hyper_parameters": {"lr": 0.1}}, folder / "epoch.ckpt.pt"
    )
    landscape.save(folder / "net.h5", module)
    found = {"module": module, "state dict": state, "wrapped": nn.DataParallel(module)}
    for name in ("net.pt", "ddp.pth", "epoch.ckpt.pt", "net.h5"):
        found[name] = folder / name
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(state, folder / "net.safetensors")
    return {**found, "net.safetensors": folder / "net.safetensors"}


FORMS = ("state dict", "wrapped", "net.pt", "ddp.pth", "epoch.ckpt.pt", "net.h5", "net.safetensors")


@pytest.mark.parametrize("form", FORMS)
def test_a_network_is_the_same_in_every_form(files: dict[str, Any], form: str) -> None:
    problem = problem_of("convolutional", settled(Convolutional))
    params, stats, _ = problem.form.take(files["module"])
    given = files[form]
    checkpoint = landscape.load(given) if isinstance(given, Path) else given
    other, other_stats, found = problem.form.take(checkpoint)
    assert all(np.array_equal(params[name], other[name]) for name in params)
    assert all(np.array_equal(stats[name], other_stats[name]) for name in stats)
    assert list(params) == [n for n, _ in sorted(settled(Convolutional).named_parameters())]
    told = " ".join(found.warnings)
    assert ("prefix" in told) == (form in ("ddp.pth", "epoch.ckpt.pt"))


def test_what_is_measured_is_the_module_in_evaluation_mode() -> None:
    module, data = settled(Convolutional, 3).train(), data_of("convolutional")
    metric = Metric(lambda output, target: output.argmax(1) == target, higher_is_better=True)
    problem = landscape.torch_problem(module, nn.CrossEntropyLoss(), train=data, metrics={"accuracy": metric})
    found = problem.evaluate(module)
    assert np.isclose(found["loss"], mean_loss(module, data), rtol=1e-6)
    right = copy.deepcopy(module).eval()(data[0]).argmax(1) == data[1]
    assert found["accuracy"] == right.numpy().mean()
    assert any("training mode" in note for note in landscape.hessian(problem, module).notes)


def test_metrics_of_a_module_have_the_direction_and_the_span_of_any_problems() -> None:
    def right(output: Any, target: Any) -> Any:
        return output.argmax(1) == target

    problem = landscape.torch_problem(
        settled(Convolutional),
        nn.CrossEntropyLoss(),
        train=data_of("convolutional"),
        metrics={"accuracy": right, "error": lambda *pair: ~right(*pair), "hits": Metric(right, span=2.0)},
    )
    assert problem.metrics["accuracy"].higher_is_better
    assert not problem.metrics["error"].higher_is_better
    assert problem.metrics["hits"].span == 2.0


class Counted(Dataset):  # type: ignore[type-arg,unused-ignore]  # mypy may not see PyTorch's types
    def __init__(self, inputs: Any, targets: Any) -> None:
        self.inputs, self.targets = inputs, targets
        self.reads = [0] * len(targets)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int) -> Any:
        self.reads[i] += 1
        return self.inputs[i], self.targets[i]


def test_a_data_set_too_large_to_hold_is_read_once_to_be_checked_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, data = settled(Convolutional), data_of("convolutional")
    expected = problem_of("convolutional", module).evaluate(module)["loss"]
    monkeypatch.setattr(reading, "HELD_BYTES", 0)
    train, test = Counted(*data), Counted(*data)
    problem = landscape.torch_problem(
        module, nn.CrossEntropyLoss(), train=DataLoader(train, 2), test=DataLoader(test, 2)
    )
    assert train.reads[-1] == test.reads[-1] == 1
    assert problem.is_stream("train")
    assert problem.num_examples("train") == len(data[0])
    assert np.isclose(problem.evaluate(module)["loss"], expected, rtol=1e-6)


def test_the_module_and_its_surroundings_stay_as_they_were() -> None:
    module, data = settled(Convolutional, 3).train(), data_of("convolutional")
    module.head.weight.grad = torch.ones_like(module.head.weight)
    kept = [tensor.clone() for tensor in data]
    state = copy.deepcopy(module.state_dict())
    random = torch.get_rng_state()
    flags = torch.backends.mkldnn.enabled, torch.is_grad_enabled(), torch.get_num_threads()
    problem = landscape.torch_problem(module, nn.CrossEntropyLoss(), train=data)
    landscape.hessian(problem, module).matvec(np.ones(164))
    landscape.loss_barrier(problem, module, settled(Convolutional, 4), num_points=3, refine=False)
    assert module.training
    assert all(layer.training for layer in module.modules())
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in state.items())
    assert torch.equal(module.head.weight.grad, torch.ones_like(module.head.weight))
    assert module.body[0].weight.grad is None
    assert module.body[0].weight.requires_grad
    assert torch.equal(random, torch.get_rng_state())
    assert flags == (torch.backends.mkldnn.enabled, torch.is_grad_enabled(), torch.get_num_threads())
    assert all(torch.equal(before, after) for before, after in zip(kept, data, strict=True))
    assert not module._forward_pre_hooks
    assert all(not layer._forward_pre_hooks for layer in module.modules())


def test_tied_weights_are_one_parameter_and_come_back_twice() -> None:
    module = settled(lambda: Causal(tied=True))
    problem = problem_of("tied embeddings", module)
    operator = landscape.hessian(problem, module)
    assert operator.dim == sum(p.numel() for p in module.parameters())
    assert "head.weight" not in operator.layers()
    found = problem.state_dict(operator.unflatten(np.arange(operator.dim, dtype=np.float32)))
    assert torch.equal(found["head.weight"], found["embedding.weight"])
    settled(lambda: Causal(tied=True), 5).load_state_dict(found, strict=True)
    assert any("tied" in note for note in operator.notes)


def test_frozen_parameters_are_carried_and_not_differentiated() -> None:
    module, data = settled(frozen), data_of("frozen")
    problem = landscape.torch_problem(module, nn.CrossEntropyLoss(), train=data)
    operator = landscape.hessian(problem, module)
    assert set(operator.layers()) == {n for n, p in module.named_parameters() if p.requires_grad}
    assert any("frozen" in note for note in operator.notes)
    everything = landscape.torch_problem(module, nn.CrossEntropyLoss(), train=data, differentiate_frozen=True)
    assert landscape.hessian(everything, module).dim == sum(p.numel() for p in module.parameters())
    line = landscape.loss_barrier(problem, module, settled(frozen, 1), num_points=3, refine=False)
    middle = settled(frozen)
    other = settled(frozen, 1).state_dict()
    middle.load_state_dict({k: (v + other[k]) / 2 for k, v in middle.state_dict().items()})
    assert np.isclose(line.losses["train"]["loss"][1], mean_loss(middle, data), rtol=1e-5)


def test_layers_are_chosen_by_the_names_of_pytorch() -> None:
    module = settled(lambda: ResNet18(2, 4))
    problem = landscape.torch_problem(module, nn.CrossEntropyLoss(), train=data_of("resnet18"))
    chosen = landscape.hessian(problem, module, where="layer1.0.*")
    assert set(chosen.layers()) == {n for n, _ in module.named_parameters() if n.startswith("layer1.0.")}


def test_what_comes_back_is_a_state_dict_that_loads_strictly(tmp_path: Path) -> None:
    module, data = settled(Convolutional, 3), data_of("convolutional")
    problem = landscape.torch_problem(module, nn.CrossEntropyLoss(), train=data)
    operator = landscape.hessian(problem, module)
    pairs = landscape.top_eigenpairs(operator, 1)
    vector = problem.state_dict(operator.unflatten(pairs.eigenvectors[:, 0]))
    assert settled(Convolutional).load_state_dict(vector, strict=True)
    assert np.allclose(vector["head.bias"].numpy(), pairs.eigenvectors[operator.layers()["head.bias"], 0])
    assert torch.equal(vector["body.1.running_mean"], module.state_dict()["body.1.running_mean"])
    assert vector["body.1.num_batches_tracked"].dtype == torch.int64

    other = settled(Convolutional, 4)
    curve = landscape.connect(problem, module, other, steps=5, batch_stats="keep")
    bend = settled(Convolutional)
    middle = problem.state_dict(curve.at(0.5), recompute_statistics=True)
    bend.load_state_dict(middle, strict=True)
    loss = problem.evaluate(bend)["loss"]
    assert np.isclose(loss, mean_loss(bend, data), rtol=1e-5)
    with torch.no_grad():
        first = bend.body[0](data[0])
    assert torch.allclose(bend.body[1].running_mean, first.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(bend.body[1].running_var, first.var((0, 2, 3)), rtol=1e-5)
    landscape.save(tmp_path / "net.h5", other)
    again = settled(Convolutional)
    again.load_state_dict(problem.state_dict(tmp_path / "net.h5"), strict=True)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in other.state_dict().items())


def test_filters_are_those_of_pytorchs_first_axis() -> None:
    """A random direction moves every output channel by as much as it is long."""
    module = settled(Convolutional, 3)
    problem = problem_of("convolutional", module)
    assert problem.output_axis("body.0.weight") == 0
    turned = landscape.torch_problem(
        nn.Sequential(nn.ConvTranspose1d(2, 3, 2), nn.Flatten()),
        nn.MSELoss(),
        train=(torch.ones(2, 2, 3), torch.ones(2, 12)),
    )
    assert turned.output_axis("0.weight") == 1
    origin = Origin.of(problem, module, mask=None, where=None, allow=False)
    drawn = filter_normalised(origin, np.random.default_rng(0), filter_axis=problem.output_axis)
    kernel = origin.subject.layout.split(drawn)["body.0.weight"]
    own = module.body[0].weight.detach().numpy()
    assert np.allclose(
        np.linalg.norm(kernel.reshape(3, -1), axis=1), np.linalg.norm(own.reshape(3, -1), axis=1)
    )


def test_relative_flatness_takes_rows_as_units() -> None:
    """The same one-layer regression in PyTorch and in jax: the kernel transposed, the measure the same."""
    rng = np.random.default_rng(0)
    x, y, kernel = (rng.standard_normal(shape).astype(np.float32) for shape in ((8, 3), (8, 2), (3, 2)))
    module = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(kernel.T.copy()))
    ours = landscape.Problem(lambda p, b: (((b[0] @ p["weight"]) - b[1]) ** 2).mean(1), train=(x, y))
    theirs = landscape.torch_problem(module, nn.MSELoss(), train=(x, y))
    one = landscape.relative_flatness(ours, {"weight": kernel}, draws=16)
    two = landscape.relative_flatness(theirs, module, draws=16)
    assert np.isclose(one.value, two.value, rtol=1e-4)


ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", ["loop.py", "lightning_callback.py"])
def test_the_examples_run(name: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, str(ROOT / "examples" / "pytorch" / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert ("second derivatives" if name == "loop.py" else "after epoch 30") in done.stdout


def test_the_code_of_the_page_for_newcomers_runs() -> None:
    text = (ROOT / "docs" / "coming-from-pyhessian.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    space: dict[str, Any] = {}
    for block in blocks:
        exec(block, space)  # noqa: S102  the page's own code
    assert space["module"].load_state_dict(space["direction"], strict=True)
    assert space["pairs"].status == "ok"


@pytest.mark.parametrize(
    "name",
    sorted(
        set(
            re.findall(
                r"`(?:\w+ = )?([a-z_]+)\(",
                (ROOT / "docs" / "coming-from-pyhessian.md")
                .read_text(encoding="utf-8")
                .replace("landscape.", ""),
            )
        )
    ),
)
def test_what_the_page_names_is_there(name: str) -> None:
    theirs = {"lanczos", "deflated_power_iteration", "match_names", "get_params_grad", "load_state_dict"}
    assert name in theirs or hasattr(landscape, name) or name == "problem"
