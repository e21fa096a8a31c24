"""PyTorch's layout of weights as Flax has it.

`torch.nn.Linear` keeps its weight as [out, in], Flax's `Dense` its kernel as [in, out]; convolutions have
[out, in, *window] and [*window, in, out]. Embeddings are laid out alike in both. Names follow: ``weight``
becomes ``kernel``, ``embedding`` or (one axis: a normalisation) ``scale``; running statistics go to
``batch_stats``. A file of tensors does not say which layer a weight belongs to: two axes are taken for
a linear layer unless the name says embedding, three to five for a convolution. Transposed convolutions
are refused: their axes are others, and Flax turns their window round.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from landscape.errors import InputError
from landscape.files.formats.entries import Entry

_EMBEDDING = re.compile(r"emb|(^|[/_.])w[tp]e($|[/_.])", re.IGNORECASE)
_TRANSPOSED = re.compile(r"conv_?transpose|transpose_?conv|deconv", re.IGNORECASE)
_WEIGHTS = ("weight", "kernel")
_STATISTICS = {"running_mean": "mean", "running_var": "var"}
_COUNTER = "num_batches_tracked"
_TURNS: dict[int, tuple[int, ...]] = {2: (1, 0), 3: (2, 1, 0), 4: (2, 3, 1, 0), 5: (2, 3, 4, 1, 0)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Where each array of the file goes, and how its axes are turned.

    Attributes
    ----------
    params, batch_stats : dict of str to str
        The new path by the path in the file.
    axes : dict of str to tuple of int
        The order of axes by the path in the file; arrays that stay as they are have none.
    """

    params: dict[str, str]
    batch_stats: dict[str, str]
    axes: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)

    def turn(self, path: str, array: np.ndarray) -> np.ndarray:
        """Return an array with its axes in the new order."""
        axes = self.axes.get(path)
        return array if axes is None else np.ascontiguousarray(array.transpose(axes))


def turned(path: Path, plan: Plan, entries: Mapping[str, Entry]) -> Plan:
    """Return the plan with PyTorch's layout turned into Flax's.

    Raises
    ------
    InputError
        If a weight belongs to a transposed convolution, by its name.
    """
    params: dict[str, str] = {}
    stats, axes = dict(plan.batch_stats), {}
    for source, target in plan.params.items():
        *parents, leaf = target.split("/")
        shape = entries[source].shape
        if leaf == _COUNTER:
            continue
        if leaf in _STATISTICS:
            stats[source] = "/".join((*parents, _STATISTICS[leaf]))
            continue
        kind = _kind(path, source, leaf, len(shape))
        params[source] = "/".join((*parents, kind or leaf))
        if kind == "kernel":
            axes[source] = _TURNS[len(shape)]
    return Plan(params=params, batch_stats=stats, axes=axes)


def _kind(path: Path, source: str, leaf: str, rank: int) -> str | None:
    """Return what Flax calls a weight: kernel, embedding or scale; None for anything else."""
    if leaf not in _WEIGHTS:
        return None
    if rank >= 3 and _TRANSPOSED.search(source):
        raise InputError(
            f"{path}: {source} looks like a transposed convolution, which is laid out otherwise",
            expected="linear layers, convolutions, embeddings and normalisations",
            hint="Turn it in the program that wrote it, or leave it out with --map.",
        )
    if rank == 1 and leaf == "weight":
        return "scale"
    if rank == 2 and leaf == "weight" and _EMBEDDING.search(source.rpartition("/")[0]):
        return "embedding"
    return "kernel" if rank in _TURNS else None
