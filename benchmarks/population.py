"""Population evaluation: images a second in every form, and the fraction of the peak.

    .venv/bin/python -m benchmarks.population [--members 128] [--images 1024] [--part-images 64]

What evolution spends its time on: the mean loss of every member of a population over one batch that
all share. An image counts once for every member. "plain" is ``vmap`` over the problem's own loss, what a
user would write first; "mapped" and "batched" are ours, of which the backend's own choice is compared
with the goals. On a CPU the others get fewer images, since the plain program's activations for a whole
batch do not fit 24 GiB; rates hardly depend on their number. On an accelerator every form gets the whole
batch, and the plain and the batched one are also run in each precision, against the plain one and the
peak of the same precision. Rounds are interleaved, figures are medians, ratios are taken round by round.
The peak is that of a square matrix product in the same round.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import interleaved, machine, matrix_product, median, peak_size, ratio
from landscape.trees import Layout
from trainers.config import Evaluation
from trainers.tasks.classification import Task, classification_task
from trainers.tasks.datasets import Dataset
from trainers.training import population_evaluator
from trainers.training.evaluation import chosen_form

# Multiplications and additions for one image and one member.
FLOPS = {
    "paper-cnn": 2 * (28 * 28 * 25 * 8 + 14 * 14 * 200 * 16 + 784 * 10),
    "lenet-300-100": 2 * (784 * 300 + 300 * 100 + 100 * 10),
}
GOALS = {"paper-cnn": "at least 10 times plain", "lenet-300-100": "at least .60 of the peak"}
PRECISIONS = ("float32", "tf32", "bfloat16")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is evaluated: `part_images` by forms that the backend would not choose."""

    members: int = 128
    images: int = 1024
    part_images: int = 64
    rounds: int = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """One form in one precision, and how many images it gets."""

    form: str
    precision: str
    images: int

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.form} {self.precision}"


def random_images(count: int) -> Dataset:
    """Return images and labels of the size of MNIST's; their values do not matter here."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(count, 28, 28, 1)).astype(np.float32)
    split = (images, rng.integers(0, 10, count))
    return Dataset(name="mnist", splits=dict.fromkeys(("train", "validation", "test"), split))


def candidates(sizes: Sizes) -> list[Candidate]:
    """Return what is compared on this backend."""
    ours = chosen_form("auto")
    whole = jax.default_backend() != "cpu"
    found = [
        Candidate(
            form=form,
            precision="float32",
            images=sizes.images if whole or form == ours else min(sizes.images, sizes.part_images),
        )
        for form in ("plain", "mapped", "batched")
    ]
    further = PRECISIONS[1:] if whole else ()
    found += [
        Candidate(form=form, precision=precision, images=sizes.images)
        for precision in further
        for form in ("plain", "batched")
    ]
    return found


def programs(task: Task, found: Sequence[Candidate], members: int) -> dict[str, Callable[[], object]]:
    """Return a call for every candidate, all of them checked against the first one's losses."""
    like = task.init(0)
    layout = Layout.of(like)
    noise = np.random.default_rng(1).normal(size=(members, layout.size)).astype(np.float32)
    population = jnp.asarray(layout.flatten(like) + 0.02 * noise)
    batch = task.problem.arrays("train")
    fewest = min(one.images for one in found)
    calls: dict[str, Callable[[], object]] = {}
    expected: np.ndarray | None = None
    for one in found:
        settings = Evaluation(form=one.form, precision=one.precision)
        evaluate = jax.jit(population_evaluator(task.problem, layout, like, settings))
        part = jax.tree.map(lambda leaf, count=one.images: leaf[:count], batch)
        small = np.asarray(evaluate(population, jax.tree.map(lambda leaf: leaf[:fewest], batch)))
        expected = small if expected is None else expected
        error = np.abs(small / expected - 1).max()
        print(f"  {one.name:<17} largest relative difference of a loss  {error:.1e}")
        calls[one.name] = lambda evaluate=evaluate, part=part: evaluate(population, part)
    return calls


def report(sizes: Sizes) -> None:
    """Print one block per network."""
    found = candidates(sizes)
    peaks = {
        f"peak {precision}": matrix_product(precision)
        for precision in dict.fromkeys(one.precision for one in found)
    }
    for kind, flops in FLOPS.items():
        print(f"{kind}: population {sizes.members}, batch {sizes.images} (goal on a CPU: {GOALS[kind]})")
        task = classification_task(random_images(sizes.images), {"kind": kind}, options={})
        calls = {**programs(task, found, sizes.members), **peaks}
        times = interleaved(calls, repeats=sizes.rounds)
        for one in found:
            print(line(one, times, flops=flops, members=sizes.members, plain=plain_of(one, found)))


def plain_of(one: Candidate, found: Sequence[Candidate]) -> Candidate:
    """Return the plain candidate of the same precision."""
    return next(c for c in found if c.form == "plain" and c.precision == one.precision)


def line(
    one: Candidate, times: Mapping[str, list[float]], *, flops: int, members: int, plain: Candidate
) -> str:
    """Return a candidate's line: rate, arithmetic, ratio to plain, and share of the peak."""
    work, seconds = members * one.images, times[one.name]
    faster = one.images / plain.images * ratio(times[plain.name], seconds)
    share = flops * work / (2 * peak_size() ** 3) * ratio(times[f"peak {one.precision}"], seconds)
    rates = f"{work / median(seconds):>13,.0f} images/s {flops * work / median(seconds) / 1e9:>9,.1f} GFLOP/s"
    chosen = "  (chosen)" if one.form == chosen_form("auto") else ""
    return f"  {one.name:<17}{rates}  {faster:5.1f} x plain  {share:.2f} of the peak{chosen}"


def arguments() -> argparse.ArgumentParser:
    """Return the parser of sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for field in dataclasses.fields(Sizes):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=int, default=field.default)
    return parser


def main() -> None:
    """Print the machine and the blocks."""
    given: dict[str, Any] = vars(arguments().parse_args())
    print(machine())
    report(Sizes(**given))


if __name__ == "__main__":
    main()
