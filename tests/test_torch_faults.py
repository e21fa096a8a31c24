"""What cannot be measured of a module of PyTorch: refused by name, with what to do."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason='needs PyTorch: pip install "ticketscape[torch]"')

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, Dataset, TensorDataset  # noqa: E402
from torch_samples import CLASSES, Convolutional, data_of, settled  # noqa: E402

import landscape  # noqa: E402
from landscape.errors import ArchitectureMismatchError, CheckpointError, InputError, ProblemError  # noqa: E402

pytestmark = pytest.mark.faults
ROWS = (torch.linspace(-1, 1, 24).reshape(6, 4), torch.arange(6) % CLASSES)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def linear() -> Any:
    return settled(lambda: nn.Linear(4, CLASSES))


def problem_of(loss: Any = None, *, module: Any = None, data: Any = ROWS) -> Any:
    return landscape.torch_problem(module or linear(), loss or nn.CrossEntropyLoss(), train=data)


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, CLASSES)

    def forward(self, x: Any) -> Any:
        return F.dropout(self.linear(x), 0.5, training=True)


def test_dropout_that_stays_on_is_refused() -> None:
    with pytest.raises(ProblemError, match="Noisy: draws random numbers"):
        problem_of(module=Noisy())


def test_randomness_of_python_is_refused() -> None:
    def noisy(output: Any, target: Any) -> Any:
        return F.cross_entropy(output, target, reduction="none") * random.random()  # noqa: S311

    problem = problem_of(noisy)
    with pytest.raises(ProblemError, match="two evaluations of the same"):
        problem.evaluate(linear())


def test_a_loss_that_mixes_examples_is_refused() -> None:
    def centred(output: Any, target: Any) -> Any:
        return F.cross_entropy(output - output.mean(0), target, reduction="none")

    with pytest.raises(ProblemError, match="depends on the other examples"):
        problem_of(centred).evaluate(linear())


def test_a_layer_with_the_statistics_of_its_batch_is_refused() -> None:
    module = nn.Sequential(nn.Linear(4, CLASSES), nn.BatchNorm1d(CLASSES, track_running_stats=False))
    with pytest.raises(ProblemError, match="depends on the other examples"):
        problem_of(module=module).evaluate(module)


def test_a_loss_that_returns_a_mean_is_refused() -> None:
    with pytest.raises(ProblemError, match="one number for the whole batch") as caught:
        problem_of(lambda output, target: F.cross_entropy(output, target).mean())
    assert "reduction='none'" in str(caught.value)


def test_a_target_of_the_wrong_type_is_said_in_pytorchs_words() -> None:
    with pytest.raises(ProblemError, match="its loss fails") as caught:
        problem_of(data=(ROWS[0], ROWS[1].float()))
    assert "whole numbers for classes" in str(caught.value)


def test_an_in_place_change_that_breaks_the_backward_pass_is_said_in_pytorchs_words() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, CLASSES)

        def forward(self, x: Any) -> Any:
            found = torch.exp(self.linear(x))
            found += 1
            return found

    module = Broken()
    problem = problem_of(module=module)
    assert np.isfinite(problem.evaluate(module)["loss"])
    with pytest.raises(ProblemError, match=r"Broken: .*modified by an inplace operation"):
        landscape.hessian(problem, module).gradient()


def test_data_that_the_module_changes_in_place_stay_as_they_are() -> None:
    module = nn.Sequential(nn.ReLU(inplace=True), linear())
    x = ROWS[0].clone()
    problem = problem_of(module=module, data=(x, ROWS[1]))
    with torch.no_grad():
        expected = float(F.cross_entropy(module[1](x.relu()), ROWS[1]))
    assert [problem.evaluate(module)["loss"] for _ in range(2)] == pytest.approx(
        [expected, expected], rel=1e-6
    )
    assert torch.equal(x, ROWS[0])


def test_a_lazy_module_is_refused() -> None:
    with pytest.raises(ProblemError, match="lazy module"):
        problem_of(module=nn.Sequential(nn.LazyLinear(CLASSES)))


def test_complex_parameters_are_refused() -> None:
    with pytest.raises(InputError, match="complex parameters"):
        problem_of(module=nn.Linear(4, CLASSES, dtype=torch.complex64))


def test_missing_and_unexpected_names_are_listed_ten_at_most() -> None:
    wide = nn.Sequential(*(nn.Linear(4, 4) for _ in range(8)))
    problem = problem_of(module=wide)
    with pytest.raises(ArchitectureMismatchError) as caught:
        landscape.hessian(problem, linear())
    text = str(caught.value)
    assert "16 names missing, 2 unexpected" in text
    assert "and 6 more" in text
    assert "unexpected weight, bias" in text


def test_shapes_that_differ_are_listed() -> None:
    with pytest.raises(ArchitectureMismatchError, match="1 shapes") as caught:
        landscape.hessian(problem_of(), {"weight": torch.zeros(CLASSES, 5), "bias": torch.zeros(CLASSES)})
    assert "weight: (4, 5) for (4, 4)" in str(caught.value)


def test_tied_weights_that_differ_are_refused() -> None:
    module = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    module[1].weight = module[0].weight
    state = {"0.weight": torch.zeros(4, 4), "1.weight": torch.ones(4, 4)}
    with pytest.raises(ArchitectureMismatchError, match="are one parameter"):
        landscape.hessian(problem_of(module=module), state)


def test_a_pickled_module_is_refused_with_how_to_save_it(tmp_path: Path) -> None:
    torch.save(linear(), tmp_path / "whole.pt")
    with pytest.raises(CheckpointError) as caught:
        landscape.hessian(problem_of(), tmp_path / "whole.pt")
    assert "model.state_dict()" in str(caught.value)


def test_a_loader_that_shuffles_or_drops_examples_is_refused() -> None:
    data = TensorDataset(*ROWS)
    with pytest.raises(ProblemError, match="shuffles"):
        problem_of(data=DataLoader(data, 2, shuffle=True))
    with pytest.raises(ProblemError, match="leaves out"):
        problem_of(data=DataLoader(data, 4, drop_last=True))


class Augmented(Dataset):  # type: ignore[type-arg,unused-ignore]
    def __init__(self, noise: float) -> None:
        self.noise = noise

    def __len__(self) -> int:
        return len(ROWS[0])

    def __getitem__(self, i: int) -> Any:
        return ROWS[0][i] + self.noise * torch.rand(4), int(ROWS[1][i])


def test_augmentation_is_refused_and_steady_data_sets_are_arrays() -> None:
    with pytest.raises(ProblemError, match="change from one pass"):
        problem_of(data=Augmented(0.1))
    expected = problem_of().evaluate(linear())["loss"]
    for data in (Augmented(0.0), TensorDataset(*ROWS), DataLoader(TensorDataset(*ROWS), 4)):
        assert problem_of(data=data).evaluate(linear())["loss"] == expected


def test_weights_that_are_renormalised_in_place_are_refused() -> None:
    module = nn.Sequential(nn.Embedding(8, 3, max_norm=0.1), nn.Flatten(), nn.Linear(6, CLASSES))
    data = (torch.arange(12).reshape(6, 2) % 8, ROWS[1])
    with pytest.raises(ProblemError, match="in place"):
        problem_of(module=module, data=data).evaluate(module)


def test_class_weights_and_ignored_tokens_are_per_example() -> None:
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    problem = problem_of(nn.CrossEntropyLoss(weight=weights))
    with torch.no_grad():
        each = F.cross_entropy(linear()(ROWS[0]), ROWS[1], weight=weights, reduction="none")
    assert np.allclose(problem.per_example(linear())["loss"], each, rtol=1e-6)
    assert any("class weights" in note for note in problem.form.notes)
    logits, targets = torch.randn(6, CLASSES, 3), torch.randint(0, CLASSES, (6, 3))
    targets[:, 2] = -100
    module = nn.Conv1d(CLASSES, CLASSES, 1)
    found = problem_of(module=module, data=(logits, targets)).per_example(module)["loss"]
    with torch.no_grad():
        each = F.cross_entropy(module(logits)[..., :2], targets[..., :2], reduction="none").mean(1)
    assert np.allclose(found, each, rtol=1e-5)
    found = problem_of(F.cross_entropy, module=module, data=(logits, targets)).per_example(module)["loss"]
    assert np.allclose(found, each, rtol=1e-5)


def test_examples_that_the_loss_ignores_as_a_whole_are_refused() -> None:
    targets = ROWS[1].clone()
    targets[4] = -100
    problem = problem_of(data=(ROWS[0], targets))
    with pytest.raises(ProblemError, match="ignores 1 examples"):
        problem.evaluate(linear())


def test_targets_that_are_probabilities_are_averaged_over_tokens() -> None:
    module = settled(lambda: nn.Conv1d(CLASSES, CLASSES, 1))
    logits, targets = torch.randn(6, CLASSES, 3), torch.rand(6, CLASSES, 3).softmax(1)
    found = problem_of(module=module, data=(logits, targets)).per_example(module)["loss"]
    with torch.no_grad():
        each = F.cross_entropy(module(logits), targets, reduction="none").mean(1)
    assert np.allclose(found, each, rtol=1e-5)


def test_outputs_of_tokens_stand_with_classes_last_and_are_no_likelihood_of_an_example() -> None:
    module = settled(lambda: nn.Conv1d(3, CLASSES, 1))
    rng = torch.Generator().manual_seed(0)
    data = torch.randn(6, 3, 2, generator=rng), torch.randint(0, CLASSES, (6, 2), generator=rng)
    problem = problem_of(module=module, data=data)
    assert problem.outputs is not None
    assert problem.outputs.likelihood is None
    params, _, _ = problem.form.take(module)
    batch = tuple(x.numpy() for x in data)
    z = problem.outputs.model(params, batch)
    assert z.shape == (6, 2, CLASSES)
    assert np.allclose(problem.outputs.loss(z, batch), problem.loss(params, batch), rtol=1e-6)
    # Of a linear model the Hessian is the Gauss-Newton matrix.
    vector = np.random.default_rng(0).standard_normal(16).astype(np.float32)
    products = [kind(problem, module).matvec(vector) for kind in (landscape.hessian, landscape.gauss_newton)]
    assert np.allclose(*products, atol=1e-6)


WITHOUT = """
import sys
sys.modules["torch"] = None
from cli.main import main
sys.argv = ["landscape", "curvature", sys.argv[1], "--problem", sys.argv[2] + ":problem"]
main()
"""


@pytest.mark.parametrize("first", ["import torch", ""])
def test_without_pytorch_the_command_says_what_to_install(tmp_path: Path, first: str) -> None:
    landscape.save(tmp_path / "net.h5", linear())
    source = f"{first}\nimport landscape\ndef problem():\n"
    source += "    return landscape.torch_problem(None, None, train=())\n"
    (tmp_path / "own.py").write_text(source, encoding="utf-8")
    command = [sys.executable, "-c", WITHOUT, str(tmp_path / "net.h5"), str(tmp_path / "own.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "torch" in done.stderr
    assert "install" in done.stderr


def test_a_module_goes_through_the_command_line(tmp_path: Path) -> None:
    module = settled(Convolutional)
    torch.save(module.state_dict(), tmp_path / "net.pt")
    torch.save(data_of("convolutional"), tmp_path / "data.pt")
    source = (
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import torch\nfrom torch import nn\nimport landscape\nfrom torch_samples import Convolutional\n"
        "torch.set_num_threads(1)\n"
        f"DATA = torch.load({str(tmp_path / 'data.pt')!r})\n"
        "def problem():\n"
        "    return landscape.torch_problem(Convolutional(), nn.CrossEntropyLoss(), train=DATA)\n"
    )
    (tmp_path / "own.py").write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "landscape", "curvature", "net.pt", "--problem", "own.py:problem"]
    command += ["--top", "1", "--where", "body.0.*", "-o", "page.html"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "evaluation mode" in done.stdout
    assert "body.0.weight" in done.stdout
    assert "body.0.weight" in (tmp_path / "page.html").read_text(encoding="utf-8")
