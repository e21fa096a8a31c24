"""Checkpoints: parameters, mask, search distribution and where they come from, in one HDF5 file.

Reading and writing need no jax: trees come back as NumPy arrays in nested dictionaries and lists.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from landscape.errors import CheckpointError
from landscape.files.hdf5 import HINT, archive, boundary, writing
from landscape.files.modules import is_module, state_of
from landscape.files.strict_json import dump_json
from landscape.trees import (
    apply_mask as apply_mask_to,
    arrays_by_path,
    arrays_with_paths,
    check_finite,
    check_same_architecture,
    check_std,
    check_zero_where_masked,
    checked_mask,
    fill,
    fully_masked,
    map_arrays,
    nest,
    tree_digest,
)

__all__ = ["Checkpoint", "load", "save"]

SCHEMA = "landscape-checkpoint"
VERSION = (1, 0)
_TREES = ("params", "mask", "std", "init", "best", "batch_stats", "history", "state")
_MASKED = ("params", "best", "std")  # zero where the mask is 0


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Checkpoint:
    """Parameters with mask, search distribution, statistics and info.

    Attributes
    ----------
    params : pytree of arrays
        The weights.
    mask : pytree of bool, optional
        1 where a weight is free, with the tree and shapes of `params`.
    std : pytree, optional
        Standard deviation of the search distribution of an evolution strategy.
    init : pytree, optional
        The (dense) initialisation that a ticket starts from.
    best : pytree, optional
        The parameters that were best on the validation split.
    batch_stats : pytree, optional
        Statistics of normalisation layers.
    history : mapping of str to array, optional
        Curves of the run.
    state : pytree of arrays, optional
        The state that resuming needs.
    info : mapping, optional
        Task, network, level, seeds, metrics and versions: plain JSON types.
    config : mapping, optional
        The resolved configuration of the run: plain JSON types.
    path : Path, optional
        The file it was loaded from.
    warnings : tuple of str
        Warnings for the reader (a layer of which nothing is left, say).
    """

    params: Any
    mask: Any = None
    std: Any = None
    init: Any = None
    best: Any = None
    batch_stats: Any = None
    history: Any = None
    state: Any = None
    info: Mapping[str, Any] | None = None
    config: Mapping[str, Any] | None = None
    path: Path | None = dataclasses.field(default=None, compare=False)
    warnings: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    @property
    def digest(self) -> str:
        """BLAKE2b-128 of the parameters: paths, dtypes, shapes and bytes."""
        return tree_digest(self.params)

    @property
    def source(self) -> Mapping[str, Any] | None:
        """The file of another tool that it was read or converted from: name, format, what was left out."""
        found = (self.info or {}).get("converted_from")
        return found if isinstance(found, Mapping) else None

    @property
    def num_params(self) -> int:
        """Number of weights, pruned ones included."""
        return sum(int(np.size(leaf)) for _, leaf in arrays_with_paths(self.params))

    @property
    def density(self) -> float:
        """Fraction of the weights of kernels (two axes or more) that the mask leaves; 1 without one."""
        kernels = [np.asarray(leaf) for _, leaf in arrays_with_paths(self.mask) if np.ndim(leaf) >= 2]
        total = sum(kernel.size for kernel in kernels)
        return sum(int(kernel.sum()) for kernel in kernels) / total if total else 1.0

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines."""
        info = self.info or {}
        held = [name for name in _TREES[1:] if getattr(self, name) is not None]
        rows = [
            ("file", str(self.path) if self.path else "not saved"),
            ("parameters", f"{self.num_params:,} in {len(arrays_with_paths(self.params))} arrays"),
            ("density", f"{self.density:.4g}"),
            ("also holds", ", ".join(held) or "nothing else"),
            ("params_digest", self.digest),
        ]
        rows += [
            (key, str(info[key]))
            for key in ("task", "network", "method", "level")
            if info.get(key) is not None
        ]
        if self.source is not None:
            rows.append(("converted from", f"{self.source.get('name')} ({self.source.get('format')})"))
        return rows + [("warning", warning) for warning in self.warnings]

    def __repr__(self) -> str:
        rows = self.rows()
        width = max(len(label) for label, _ in rows)
        return (
            "Checkpoint(\n" + "\n".join(f"  {label:<{width}}  {value}" for label, value in rows[:11]) + "\n)"
        )

    def _repr_html_(self) -> str:
        """Return a plain table; every text is escaped."""
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(label)}</th><td>{html.escape(value)}</td></tr>"
            for label, value in self.rows()
        )
        return f"<table><caption>Checkpoint</caption>{cells}</table>"


def save(
    path: str | Path, checkpoint: Checkpoint | Any, *, force: bool = False, apply_mask: bool = False
) -> Path:
    """Write a checkpoint, atomically: afterwards the path holds the complete new file or what it held before.

    Parameters
    ----------
    path : path
        The file; its folder must exist.
    checkpoint : Checkpoint, torch.nn.Module or its state dict
        Arrays of any library that converts to NumPy. Of a module the parameters are stored by PyTorch's
        names, and running statistics beside them.
    force : bool
        Whether an existing file is replaced.
    apply_mask : bool
        Whether params, best and std are zeroed where the mask is 0 instead of being refused.

    Raises
    ------
    OutputExistsError
        If the file is there and `force` is false.
    MaskError
        If the mask does not fit, or weights are not zero where it is 0.
    CheckpointError
        If the file could not be written; what was there before is untouched.
    """
    if is_module(checkpoint):
        params, stats = state_of(checkpoint)
        checkpoint = Checkpoint(params=params, batch_stats=stats)
    checkpoint = _masked(checkpoint, apply_mask=apply_mask)
    arrays = {
        f"{name}/{inner}" if inner else f"{name}/{archive.ROOT}": leaf
        for name in _TREES
        for inner, leaf in arrays_by_path(getattr(checkpoint, name)).items()
    }
    compress = [
        p for p in arrays if p.startswith("mask/") or (checkpoint.mask is not None and p.startswith(_SPARSE))
    ]
    texts = {"config": dump_json(checkpoint.config or {}), "info": dump_json(checkpoint.info or {})}
    return writing.write(
        Path(path), schema=SCHEMA, version=VERSION, arrays=arrays, texts=texts, force=force, compress=compress
    )


_SPARSE = tuple(f"{name}/" for name in _MASKED)


def load(
    path: str | Path, like: Any = None, *, apply_mask: bool = False, allow_nonfinite: bool = True
) -> Checkpoint:
    """Read a checkpoint. No jax is imported, nothing in the file is executed.

    Parameters
    ----------
    path : path
        The file.
    like : pytree, optional
        Restores the structure (lists, tuples, NamedTuples) of the parameters, matched by path.
    apply_mask : bool
        Whether weights are zeroed where the mask is 0 instead of being refused.
    allow_nonfinite : bool
        Whether NaN and infinite weights may be loaded; analyses refuse them in any case.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, hostile, foreign or of a newer major schema.
    ArchitectureMismatchError
        If `like` has other paths or shapes.
    InputError
        If a standard deviation is negative, or not finite and `allow_nonfinite` is false.
    MaskError
        If weights are not zero where the mask is 0.
    NonFiniteError
        If a weight is not finite and `allow_nonfinite` is false.
    """
    path = Path(path).expanduser()
    content = archive.read(path, schema=SCHEMA, version=VERSION)
    with boundary(path, "its names are not those of a tree"):
        trees = {name: _tree(content.arrays, name) for name in _TREES}
    if trees["params"] is None:
        raise CheckpointError(
            f"{path}: damaged: it holds no parameters", expected="arrays under /params", hint=HINT
        )
    texts = {name: content.mapping(name) for name in ("info", "config")}
    checkpoint = _masked(
        Checkpoint(**trees, **texts, path=path, warnings=content.warnings), apply_mask=apply_mask
    )
    check_std(checkpoint.std, str(path), allow_nonfinite=allow_nonfinite)
    if not allow_nonfinite:
        check_finite(checkpoint.params, str(path))
    return checkpoint if like is None else restored(checkpoint, like)


def load_info(path: str | Path) -> dict[str, Any]:
    """Read the ``info`` of a checkpoint, and none of its arrays.

    Raises
    ------
    CheckpointError
        As `load`, but for damage in the arrays, which are not looked at.
    """
    path = Path(path).expanduser()
    content = archive.read(path, schema=SCHEMA, version=VERSION, only=lambda _: False)
    return dict(content.mapping("info"))


def _tree(arrays: Mapping[str, Any], name: str) -> Any:
    """Return one of the trees of a file, None where it holds none."""
    prefix = f"{name}/"
    leaves = {path.removeprefix(prefix): a for path, a in arrays.items() if path.startswith(prefix)}
    return nest({"" if path == archive.ROOT else path: a for path, a in leaves.items()}) if leaves else None


def restored(checkpoint: Checkpoint, like: Any) -> Checkpoint:
    """Return the checkpoint with its trees in the structure of `like`."""
    check_same_architecture(like, checkpoint.params, ("the given structure", str(checkpoint.path)))
    trees = {
        name: fill(like, arrays_by_path(getattr(checkpoint, name)))
        for name in ("params", "mask", "std", "init", "best")
        if getattr(checkpoint, name) is not None
    }
    return dataclasses.replace(checkpoint, **trees)


def checked_unread(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint with its mask checked, as loading checks that of a file.

    Raises
    ------
    MaskError
        If the mask does not fit the parameters, or something is not zero where it is, by path.
    """
    unread = checkpoint.path is None and checkpoint.mask is not None
    return _masked(checkpoint, apply_mask=False) if unread else checkpoint


def _masked(checkpoint: Checkpoint, *, apply_mask: bool) -> Checkpoint:
    """Return the checkpoint with a checked bool mask and weights that respect it."""
    if not arrays_with_paths(checkpoint.params):
        raise CheckpointError(
            "params: holds no arrays",
            expected="a pytree of arrays",
            hint="Give the parameters of the network: Checkpoint(params=…).",
        )
    if checkpoint.mask is None:
        return checkpoint
    params = map_arrays(lambda _, leaf: np.asarray(leaf), checkpoint.params)
    changes: dict[str, Any] = {"mask": checked_mask(params, checkpoint.mask)}
    for name in _MASKED:
        tree = getattr(checkpoint, name)
        if tree is None:
            continue
        check_same_architecture(params, tree, ("params", name))
        if apply_mask:
            changes[name] = apply_mask_to(tree, changes["mask"])
        else:
            check_zero_where_masked(tree, changes["mask"], name)
    notes = tuple(f"nothing is left of {layer}" for layer in fully_masked(changes["mask"]))
    return dataclasses.replace(checkpoint, **changes, warnings=(*checkpoint.warnings, *notes))
