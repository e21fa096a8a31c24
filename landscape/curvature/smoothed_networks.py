"""Traces of the smoothed loss at one or many checkpoints, as a table of curvature."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from landscape.compute import Progress, Share, shown
from landscape.curvature import table, table_rows
from landscape.curvature.cost import POINTS, smoothed_cost
from landscape.curvature.perturbed import GAUSSIAN, Perturbed
from landscape.curvature.smoothed import pairs_key, trace_around
from landscape.curvature.smoothed_results import SmoothedTrace
from landscape.curvature.table import SMOOTHED, CurvatureTable
from landscape.errors import ConfigurationError
from landscape.files import Pieces
from landscape.network import check_names, check_networks, estimate_for
from landscape.problem import Problem, problem_for_all
from landscape.results import provenance

__all__ = ["smoothed_table"]


def smoothed_table(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    checkpoints: Iterable[Any],
    *,
    radius: float,
    form: str = GAUSSIAN,
    relative_error: float = 0.05,
    max_pairs: int = 4000,
    per_layer: bool = True,
    use_mask: bool = True,
    where: str | Iterable[str] | None = None,
    split: str = "train",
    subset: int | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    seed: int = 0,
    allow_nonfinite: bool = False,
    names: Sequence[str] | None = None,
    resume: str | Path | None = None,
    progress: Progress | None = None,
) -> CurvatureTable:
    """Estimate the trace of the smoothed loss at every checkpoint, whole and by layer.

    Needs values of the loss alone, and works for every problem. The same pairs are drawn at every checkpoint.

    Parameters
    ----------
    problem : Problem or None
        The loss and its data; None rebuilds the task that the checkpoints name.
    checkpoints : iterable of Checkpoint, path or pytree
        The networks.
    radius, form, relative_error, max_pairs
        As for `smoothed_trace`.
    per_layer, use_mask, where, split, subset, batch_size, dtype, seed, allow_nonfinite, names
        As for `curvature_table`.
    resume : path, optional
        A folder that keeps the pairs of every checkpoint, so that a stopped table resumes to a bit-identical
        result; removed at the end.
    progress : Progress, optional
        Is told of every pair; by default a bar where standard error is a terminal.

    Returns
    -------
    CurvatureTable
        Its matrix is ``"smoothed_hessian"``, without eigenvalues.

    Raises
    ------
    ConfigurationError
        If there are no checkpoints, they name different tasks and `problem` is None, or `names` are not one
        per checkpoint.
    """
    given = list(checkpoints)
    if not given:
        raise ConfigurationError("smoothed curvature: nothing to measure", expected="a checkpoint")
    check_names(names, given)
    started, progress = time.perf_counter(), shown(progress)
    problem = problem_for_all(problem, given)
    options: dict[str, Any] = {
        "mask": None if use_mask else False,
        "where": where,
        "split": split,
        "subset": subset,
        "batch_size": batch_size,
        "dtype": dtype,
        "allow_nonfinite": allow_nonfinite,
    }
    check_networks(problem, given, mask=options["mask"], where=where, allow_nonfinite=allow_nonfinite)
    settings = {"relative_error": relative_error, "absolute_error": None, "num_pairs": None}
    settings |= {"max_pairs": max_pairs, "confidence": 0.95}
    asked: dict[str, Any] = {
        "form": form,
        "relative_error": relative_error,
        "max_pairs": max_pairs,
        **options,
    }
    estimate = estimate_for(progress, lambda: smoothed_cost(problem, given, **asked))
    share = 0 if estimate is None else round(estimate.parts["trace"].passes / POINTS[form])
    progress.start(estimate.label if estimate else "smoothed curvature", total=len(given) * share)
    records, found, kept = [], [], []
    try:
        for i, item in enumerate(given):
            around = Perturbed(problem, item, radius=radius, form=form, seed=seed, **options)
            folder = None if resume is None else Path(resume).expanduser() / f"network-{i:03d}"
            kept.append(Pieces(folder, pairs_key(around, "trace", settings)))
            one = trace_around(around, settings, kept[-1], Share(progress, share))
            name = names[i] if names else table.name_of(item, i)
            records.append({"name": name, **table.facts_in(item), **_record(one, per_layer)})
            found.append(one)
    finally:
        progress.stop()
    _remove(kept, resume)
    bad = [one.status for one in found if one.status != "ok"]
    notes = [
        f"{record['name']}: {note}"
        for record, one in zip(records, found, strict=True)
        for note in one.warnings
    ]
    digests = [one.provenance["digests"] for one in found]
    return CurvatureTable(
        records=records,
        matrix=SMOOTHED,
        k=0,
        status=bad[0] if bad else "ok",
        warnings=tuple(dict.fromkeys(notes)),
        config={
            **found[-1].config,
            "per_layer": per_layer,
            "use_mask": use_mask,
            "checkpoints": [table.file_of(item) for item in given],
        },
        stats=table.summed([one.stats for one in found], time.perf_counter() - started),
        provenance=provenance(seed=seed, dtype=found[-1].config["dtype"], digests=table.joined(digests)),
    )


def _record(found: SmoothedTrace, per_layer: bool) -> dict[str, Any]:
    """Return a trace as the record of a table of curvature."""
    return {
        **table_rows.blank_record(found.dim),
        "trace": table_rows.trace_record(found, found.form),
        "per_layer": dict(found.per_layer) if per_layer else {},
        "status": found.status,
        "num_matvecs": 0,
        "num_pairs": found.num_pairs,
        "pilot_pairs": found.pilot_pairs,
    }


def _remove(kept: Sequence[Pieces], folder: str | Path | None) -> None:
    """Remove what was kept of every network: the table is finished."""
    for pieces in kept:
        pieces.remove()
    if folder is not None:
        with contextlib.suppress(OSError):  # never made, or it holds other files too
            Path(folder).expanduser().rmdir()
