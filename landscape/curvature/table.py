"""Curvature of one or many checkpoints: one row per checkpoint, from programs compiled once."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

from landscape.compute import Progress, Share, shown
from landscape.curvature import table_rows
from landscape.curvature.cost import PARTS, curvature_cost
from landscape.curvature.density import DENSITY, spectral_density
from landscape.curvature.eigenpairs import top_eigenpairs
from landscape.curvature.operators import fisher, gauss_newton, hessian
from landscape.curvature.stochastic import trace as estimate_trace
from landscape.errors import ConfigurationError
from landscape.files import Checkpoint, load
from landscape.network import check_names, check_networks, estimate_for, facts_of
from landscape.problem import Problem, problem_for_all, require_gradient, require_outputs
from landscape.results import (
    Items,
    Maybe,
    Record,
    Result,
    Text,
    check_choice,
    check_whole,
    count,
    format_value,
    provenance,
    read_from_each,
)
from landscape.trees import text_digest

__all__ = ["CurvatureTable", "curvature_table"]

_OF_PAIRS = ("eigenvalues", "residuals", "converged", "multiplicity")
_OF_DENSITY = (
    "grid",
    "density",
    "standard_error",
    "log_grid",
    "log_density",
    "log_standard_error",
    "checks",
    "sigma",
)
MATRICES = ("hessian", "gauss_newton", "fisher", "model_fisher")
_NEEDING_OUTPUTS = ("gauss_newton", "model_fisher")
_SHOWN = 40
SMOOTHED = "smoothed_hessian"  # of `smoothed_table`


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class CurvatureTable(Result):
    """Eigenvalues, trace and density of the curvature at one or many checkpoints.

    Attributes
    ----------
    records : list of dict
        One per checkpoint: ``name``, ``method``, ``seed``, ``level``, ``density`` (of weights), ``dim``,
        ``eigenvalues``, ``residuals``, ``converged``, ``multiplicity``, ``none_missed`` and
        ``complete_probe`` (see `Eigenpairs`), ``trace`` (``value``, ``standard_error`` of its probes,
        ``interval``, ``data_standard_error`` of its examples where they are a subset, ``method``),
        ``per_layer``, ``status``, ``num_matvecs``, and ``data_passes``: passes over the examples for the
        error from them.
    spectra : list of dict
        One per checkpoint where densities were asked for: ``grid``, ``density``, ``standard_error``, the
        same with ``log_`` before, and ``checks``.
    matrix : str
        Which curvature matrix; that of the smoothed loss where its traces were estimated.
    k : int
        Eigenvalues asked for.
    """

    kind: ClassVar[str] = "curvature"

    statuses = ("ok", "not-converged", "incomplete", "non-finite")
    spec = Record(
        {
            "records": Maybe(Items(table_rows.RECORD)),
            "spectra": Maybe(Items(Record(DENSITY))),
            "matrix": Text((*MATRICES, SMOOTHED)),
            "k": count(),
        }
    )

    records: Sequence[Mapping[str, Any]]
    spectra: Sequence[Mapping[str, Any]] = ()
    matrix: str
    k: int

    @property
    def which(self) -> str:
        """Which end of the spectrum the eigenvalues are from."""
        return str(self.config.get("which", "largest"))

    def spectrum(self, position: int) -> Mapping[str, Any] | None:
        """Return the density of the checkpoint at `position`, None where none was asked for."""
        return self.spectra[position] if position < len(self.spectra) else None

    def tidy(self) -> list[dict[str, Any]]:
        """Return one flat row per checkpoint, all with the same columns.

        ``name``, ``method``, ``seed``, ``level``, ``density``, ``dim``; ``lambda_<i>``,
        ``residual_<i>``, ``converged_<i>``, ``multiplicity_<i>`` and ``none_missed``; ``trace`` with
        ``_standard_error`` (of the probes), ``_low``, ``_high``, ``_data_standard_error`` (of the
        examples) and ``_method``; ``density_mass`` and moments; ``num_matvecs``, ``data_passes``,
        ``status``. What was not asked for is None.
        """
        width = max((len(record["eigenvalues"]) for record in self.records), default=0)
        return [table_rows.tidy_row(record, self.spectrum(i), width) for i, record in enumerate(self.records)]

    def tidy_layers(self) -> list[dict[str, Any]]:
        """Return one flat row per checkpoint and layer: its trace, standard error and interval."""
        return [row for record in self.records for row in table_rows.layer_rows(record)]

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines: everything of a single checkpoint, one line each of several."""
        if len(self.records) == 1:
            own = table_rows.printed(self.records[0], self.spectrum(0), self.which)
            return [("matrix", f"{self._matrix()} of {self._set()}"), *own]
        lines = [("matrix", f"{self._matrix()} of {self._set()}, {len(self.records)} checkpoints")]
        if any(len(record["eigenvalues"]) for record in self.records):
            lines.append(("eigenvalues", self.which))
        lines += [
            (str(record["name"]), table_rows.line(record, self.spectrum(i)))
            for i, record in enumerate(self.records[:_SHOWN])
        ]
        if len(self.records) > _SHOWN:
            lines.append(("", f"and {len(self.records) - _SHOWN} more (all in the JSON form)"))
        return lines

    @property
    def smoothed(self) -> bool:
        """Whether the traces are those of the smoothed loss."""
        return self.matrix == SMOOTHED

    def _matrix(self) -> str:
        radius = self.config.get("radius")
        return f"{self.matrix} (radius {format_value(radius)})" if self.smoothed else self.matrix

    def _set(self) -> str:
        return f"{self.config.get('split', 'train')}, {self.counted()}"

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], **base: Any) -> Self:
        """Build it from stored fields: lists without entries were not stored."""
        return super().from_fields({"records": (), "spectra": (), **fields}, **base)


def curvature_table(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    checkpoints: Iterable[Any],
    *,
    k: int = 5,
    which: str = "largest",
    tolerance: float = 1e-4,
    trace: bool = True,
    relative_error: float = 0.05,
    density: bool = False,
    per_layer: bool = True,
    matrix: str = "hessian",
    use_mask: bool = True,
    where: str | Iterable[str] | None = None,
    split: str = "train",
    subset: int | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    seed: int = 0,
    allow_nonfinite: bool = False,
    names: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> CurvatureTable:
    """Measure the curvature at every checkpoint, with programs compiled once for all of one shape.

    Parameters
    ----------
    problem : Problem or None
        The loss and its data; None rebuilds the task that the checkpoints name.
    checkpoints : iterable of Checkpoint, path or pytree
        The networks.
    k : int
        Eigenvalues of each; 0 for none.
    which : {"largest", "smallest", "both", "magnitude"}
        Which end of the spectrum.
    tolerance : float
        Of the residuals; see `top_eigenpairs`.
    trace : bool
        Whether to estimate the trace, over all and by layer.
    relative_error : float
        Standard error of the trace asked for, relative to it.
    density : bool
        Whether to estimate the spectral density.
    per_layer : bool
        Whether to give the trace of each layer, from the same products.
    matrix : {"hessian", "gauss_newton", "fisher", "model_fisher"}
        Which curvature matrix.
    use_mask : bool
        Whether a ticket is measured in its own subspace.
    where, split, subset, batch_size, dtype, allow_nonfinite
        As for `hessian`.
    seed : int
        Of everything random; the same for every checkpoint.
    names : sequence of str, optional
        What to call the networks.
    progress : Progress, optional
        Is told of every product; by default a bar where standard error is a terminal.

    Returns
    -------
    CurvatureTable
        Its status is the first that is not ``"ok"`` of any row.

    Raises
    ------
    ConfigurationError
        If nothing is asked for, there are no checkpoints, they name different tasks and `problem` is
        None, or `names` are not one per checkpoint.
    """
    check_whole("k", k, 0)
    check_choice("matrix", matrix, MATRICES)
    given = list(checkpoints)
    if not given or not (k or trace or density):
        raise ConfigurationError(
            "curvature: nothing to measure", expected="a checkpoint, and k, trace or density"
        )
    check_names(names, given)
    started, progress = time.perf_counter(), shown(progress)
    problem = problem_for_all(problem, given)
    require_gradient(problem, "curvature")
    options = {
        "where": where,
        "split": split,
        "subset": subset,
        "batch_size": batch_size,
        "dtype": dtype,
        "allow_nonfinite": allow_nonfinite,
    }
    wanted = _Wanted(k, which, tolerance, trace, relative_error, density, per_layer, matrix, seed)
    records, spectra, stats, warnings, digests = [], [], [], [], []
    config: Mapping[str, Any] = {}
    mask = None if use_mask else False
    wishes: dict[str, Any] = {"k": k, "which": which, "trace": trace, "density": density, **options}
    wishes |= {"relative_error": relative_error, "mask": mask}
    check_networks(problem, given, mask=mask, where=where, allow_nonfinite=allow_nonfinite)
    if matrix in _NEEDING_OUTPUTS:
        require_outputs(problem)
    estimate = estimate_for(progress, lambda: curvature_cost(problem, given, order=2, **wishes))
    shares = {} if estimate is None else {name: round(c.products) for name, c in estimate.parts.items()}
    progress.start(estimate.label if estimate else "curvature", total=len(given) * sum(shares.values()))
    try:
        for i, item in enumerate(given):
            name = names[i] if names else name_of(item, i)
            operator = _operator(problem, item, matrix, {**options, "mask": mask})
            parts = {part: Share(progress, shares.get(part, 0)) for part in PARTS}
            record, spectrum, notes = _measured(operator, wanted, parts)
            records.append({"name": name, **facts_in(item), **record})
            spectra += [] if spectrum is None else [spectrum]
            stats.append(operator.stats)
            warnings += [f"{name}: {note}" for note in notes]
            digests.append(operator.digests())
            config = operator.config
    finally:
        progress.stop()
    statuses = [record["status"] for record in records if record["status"] != "ok"]
    return CurvatureTable(
        records=records,
        spectra=spectra,
        matrix=matrix,
        k=k,
        status=statuses[0] if statuses else "ok",
        warnings=tuple(dict.fromkeys(warnings)),
        config={
            **config,
            **dataclasses.asdict(wanted),
            "use_mask": use_mask,
            "checkpoints": [file_of(item) for item in given],
        },
        stats=summed(stats, time.perf_counter() - started),
        provenance=provenance(seed=seed, dtype=config["dtype"], digests=joined(digests)),
    )


def summed(stats: Sequence[Mapping[str, Any]], seconds: float) -> dict[str, Any]:
    return {
        **{name: stats[0][name] for name in ("num_examples", "weights") if name in stats[0]},
        "num_matvecs": sum(found["num_matvecs"] for found in stats),
        "compile_seconds": sum(found["compile_seconds"] for found in stats),
        "seconds": seconds,
        "seconds_each": seconds / len(stats),
    }


def joined(digests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the digests of the data and of all parameters, one of one."""
    params = [found["params"] for found in digests]
    return {
        "params": params[0] if len(params) == 1 else text_digest("".join(params)),
        "data": digests[0]["data"],
        **read_from_each(digests),
    }


@dataclasses.dataclass(frozen=True)
class _Wanted:
    k: int
    which: str
    tolerance: float
    trace: bool
    relative_error: float
    density: bool
    per_layer: bool
    matrix: str
    seed: int


def _operator(problem: Problem, item: Any, matrix: str, options: Mapping[str, Any]) -> Any:
    if matrix == "hessian":
        return hessian(problem, item, **options)
    if matrix == "gauss_newton":
        return gauss_newton(problem, item, **options)
    return fisher(problem, item, labels="model" if matrix == "model_fisher" else "data", **options)


def _measured(
    operator: Any, wanted: _Wanted, parts: Mapping[str, Progress]
) -> tuple[dict[str, Any], dict[str, Any] | None, list[str]]:
    """Return the record and the density of one network, and the warnings of its results."""
    record = table_rows.blank_record(operator.dim)
    results: list[Result] = []
    pairs = None
    if wanted.k:
        pairs = top_eigenpairs(
            operator,
            wanted.k,
            which=wanted.which,
            tolerance=wanted.tolerance,
            seed=wanted.seed,
            progress=parts["eigenvalues"],
        )
        record |= {name: getattr(pairs, name) for name in _OF_PAIRS}
        record["complete_probe"] = dict(pairs.complete_probe)
        record["none_missed"] = bool(pairs.complete_probe.get("passed"))
        results.append(pairs)
    if wanted.trace:
        found = estimate_trace(
            operator, relative_error=wanted.relative_error, seed=wanted.seed, progress=parts["trace"]
        )
        record["trace"] = table_rows.trace_record(found, found.method)
        record["data_passes"] = found.stats.get("data_passes", 0)
        record["per_layer"] = dict(found.per_layer) if wanted.per_layer else {}
        results.append(found)
    spectrum = None
    if wanted.density:
        drawn = spectral_density(operator, outliers=pairs, seed=wanted.seed, progress=parts["density"])
        spectrum = {name: getattr(drawn, name) for name in _OF_DENSITY}
        results.append(drawn)
    bad = [result.status for result in results if result.status != "ok"]
    record["status"] = bad[0] if bad else "ok"
    record["num_matvecs"] = operator.num_matvecs
    return record, spectrum, [note for result in results for note in result.warnings]


def name_of(item: Any, position: int) -> str:
    file = file_of(item)
    return file or f"network {position + 1}"


def file_of(item: Any) -> str | None:
    path = item.path if isinstance(item, Checkpoint) else (None if not hasattr(item, "__fspath__") else item)
    return str(item) if isinstance(item, str) else (None if path is None else str(path))


def facts_in(item: Any) -> dict[str, Any]:
    """Return the facts in a checkpoint's info: method, seed, level, and the density of its weights."""
    if not isinstance(item, Checkpoint):
        item = load(item) if isinstance(item, str) or hasattr(item, "__fspath__") else None
    return {**facts_of(item), "density": None if item is None else item.density}
