"""One small result of every kind that is stored, and the same results with one stored value changed."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from curvature_samples import tanh_params, tanh_problem
from flatness_samples import relu_network, relu_problem
from rollout_samples import a_rollout

import landscape
from landscape import Checkpoint, Problem
from landscape.files import dump_json
from landscape.files.hdf5 import archive
from landscape.files.strict_json import load_json
from landscape.results import Result
from landscape.results.result import SCHEMA, VERSION

MATRIX = np.diag([5.0, 3.0, 2.0, 1.0, 0.5, 0.1])
HTML = "<script>window.obeyed=true</script>"
MANY = 3_000_000
REMOVED = object()


def _bowl(params: Any, batch: Any) -> Any:
    return 0.5 * (params["w"] * np.arange(1, 5)) @ params["w"] + 0 * batch


def _overflowing(params: Any, batch: Any) -> Any:
    import jax.numpy as jnp

    return jnp.exp(150 * (1 - params["w"] ** 2)) + 0 * batch


def _w(*values: float) -> dict[str, np.ndarray]:
    return {"w": np.array(values, np.float32)}


def samples() -> dict[str, Result]:
    """Return one result per kind, and further ones of kinds that have more than one form."""
    episodes = {"rollout": a_rollout(), "rollout, of images": a_rollout(images=True, lengths=(3,))}
    return {**_of_paths(), **_of_curvature(), **_of_flatness(), **episodes}


def _of_paths() -> dict[str, Result]:
    bowl = Problem(_bowl, train=np.zeros(3, np.float32), test=np.zeros(2, np.float32))
    peak = Problem(_overflowing, train=np.zeros(3, np.float32))
    ends = [_w(-1, 1, 0, 0), _w(1, 1, 0, 2), _w(0, 0, 1, 1), _w(0, 0, 0, 0)]
    small: dict[str, Any] = {"num_points": 3, "num_resamples": 20}
    grid = {"x": (-1, 1, 3), "y": (-1, 1, 4)}
    scalars = {"w": np.float32(-1)}, {"w": np.float32(1)}
    first = tanh_params()
    second = {name: {key: 1 - leaf for key, leaf in leaves.items()} for name, leaves in first.items()}
    brought: dict[str, Any] = {**small, "align": "weights"}
    return {
        "barrier": landscape.loss_barrier(bowl, *ends[:2], **small),
        "barrier, incomplete": landscape.loss_barrier(peak, *scalars, **small),
        "barrier, aligned": landscape.loss_barrier(tanh_problem(), first, second, **brought),
        "barrier_matrix, aligned": landscape.barrier_matrix(
            tanh_problem(), [first, second, first], names=["a", "b", "c"], **brought
        ),
        "barrier_matrix": landscape.barrier_matrix(bowl, ends[:3], names=["a", "b", "c"], **small),
        "connecting_curve": landscape.connect(bowl, *ends[:2], steps=2, **small),
        "aligned": landscape.align(tanh_problem(), tanh_params(), tanh_params(), restarts=0),
        "surface": landscape.loss_surface(tanh_problem(), tanh_params(), num_planes=2, names=["a"], **grid),
        "loss_line": landscape.loss_line(
            tanh_problem(), tanh_params(), num_lines=2, x=(-1, 1, 3), names=["a"]
        ),
        "trajectory": landscape.trajectory(bowl, ends, names=list("abcd"), **grid),
    }


def _of_curvature() -> dict[str, Result]:
    params = tanh_params()
    std = {layer: {n: 0.1 + np.abs(x) for n, x in leaves.items()} for layer, leaves in params.items()}
    given = Checkpoint(params=params, std=std, info={"method": "es", "seed": 0, "level": 0})
    wide = np.diag(np.arange(1.0, 301.0))
    return {
        "eigenpairs": landscape.top_eigenpairs(MATRIX, 2),
        "trace": landscape.trace(tanh_problem_operator(), method="hutchinson", num_probes=12),
        "frobenius_norm": landscape.frobenius_norm(MATRIX, num_probes=12),
        "diagonal": landscape.diagonal(MATRIX, method="hutchinson", num_probes=12),
        "spectral_density": landscape.spectral_density(wide, num_probes=2, num_steps=5, num_points=20),
        "alignment": landscape.gradient_alignment(tanh_problem(), params, k=2),
        "scale_curvature": landscape.scale_curvature(tanh_problem(), given),
        "smoothed_diagonal": landscape.smoothed_diagonal(tanh_problem(), params, radius=0.1),
        "smoothed_gradient": landscape.smoothed_gradient(tanh_problem(), params, radius=0.1, num_pairs=40),
        "smoothed_trace": landscape.smoothed_trace(tanh_problem(), params, radius=0.1, num_pairs=300),
        "curvature": landscape.curvature_table(
            tanh_problem(), [given, given], k=2, density=True, subset=8, relative_error=0.2, names=["a", "b"]
        ),
    }


def tanh_problem_operator() -> Any:
    """Return the Hessian of the small network."""
    return landscape.hessian(tanh_problem(), tanh_params())


def _of_flatness() -> dict[str, Result]:
    given = [
        Checkpoint(params=relu_network(seed=seed), info={"method": "es", "seed": seed}) for seed in (2, 3, 4)
    ]
    options: dict[str, Any] = {"radii": {"gaussian": [0.01, 0.1]}, "draws": 4}
    measures = ["gaussian", "fisher_rao", "sam"]
    return {
        "flatness": landscape.flatness_table(
            relu_problem(), given, measures=measures, names=["a", "b", "c"], **options
        ),
        "flatness_measure": landscape.gaussian_robustness(
            relu_problem(), relu_network(), radius=0.01, radii=[0.01, 0.1], draws=12
        ),
    }


@dataclasses.dataclass(frozen=True)
class Stored:
    """The content of a file of a result, to be changed and read again without a file."""

    content: archive.Content
    meta: dict[str, Any]

    @classmethod
    def of(cls, result: Result, path: Path) -> Stored:
        """Return what is stored of a result."""
        content = archive.read(result.save(path), schema=SCHEMA, version=VERSION)
        return cls(content, load_json(content.texts["provenance"]))

    def leaves(self) -> dict[str, Any]:
        """Return every stored field by path."""
        arrays = {name.removeprefix("data/"): value for name, value in self.content.arrays.items()}
        return {**arrays, **self.meta["fields"]}

    def changed(self, path: str, value: Any) -> archive.Content:
        """Return the content with another value of one field."""
        leaves = {name: leaf for name, leaf in self.leaves().items() if name != path}
        leaves |= {} if value is REMOVED else {path: value}
        fields = {name: leaf for name, leaf in leaves.items() if not isinstance(leaf, np.ndarray)}
        arrays = {f"data/{name}": leaf for name, leaf in leaves.items() if isinstance(leaf, np.ndarray)}
        return self.with_meta(fields=fields, arrays=arrays)

    def with_meta(self, *, arrays: Any = None, config: Any = None, **changes: Any) -> archive.Content:
        """Return the content with other texts."""
        texts = {**self.content.texts, "provenance": dump_json({**copy.copy(self.meta), **changes})}
        texts |= {} if config is None else {"config": dump_json(config)}
        held = self.content.arrays if arrays is None else arrays
        return dataclasses.replace(self.content, texts=texts, arrays=held)


def _of_array(value: np.ndarray) -> Iterator[tuple[str, Any]]:
    if value.ndim:
        yield "shorter", value[:-1]
        yield "longer", np.concatenate([value, value[-1:]])
        yield "many", np.broadcast_to(value.ravel()[:1] if value.size else 0.0, (MANY, *value.shape[1:2]))
    yield "another dimension", value[None]
    yield "a truth value", value > 0 if value.dtype.kind != "b" else value.astype(float)
    yield "text in it", np.full(value.shape, 7).astype("S1")
    if value.dtype.kind == "f":
        for name, number in (("NaN", np.nan), ("infinite", np.inf), ("huge", -1e300)):
            yield name, np.full_like(value, number, dtype=float)
        yield "negative", -np.abs(value) - 1
        yield "reversed", value[::-1] if value.ndim else -value
    if value.dtype.kind in "iu":
        yield "negative", -value - 1
        yield "beyond", value + 10**6


SCALARS: dict[str, Any] = {
    "removed": REMOVED, "none": None, "HTML": HTML, "a number": 0.5, "negative": -3, "huge": 10**30,
    "NaN": float("nan"), "infinite": float("inf"), "a truth value": True, "a list": [1, 2], "empty": [],
    "a mapping": {"a": 1}, "an array": np.zeros(3), "a list of lists": [[1], [1, 2]],
    "numbers and text": [1, "a"],
}  # fmt: skip


def changes(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a stored value may be changed to, each with its name."""
    yield from SCALARS.items()
    if isinstance(value, np.ndarray):
        yield from _of_array(value)


def reading(content: archive.Content) -> Callable[..., archive.Content]:
    """Return a stand-in for the reader of archives."""
    return lambda *_, **__: content
