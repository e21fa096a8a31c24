"""The base of every result: data with a status, statistics and provenance.

A result is a frozen, keyword-only dataclass. Its data fields are numbers, strings, NumPy arrays and
nested dictionaries of them. It prints itself, becomes one strict JSON object, and is stored in an
HDF5 file from which it can be loaded, drawn again and run again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import html
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from landscape.errors import CheckpointError, MissingDependencyError
from landscape.files import dump_json, jsonable, without_folders
from landscape.files.hdf5 import archive, boundary, writing
from landscape.results.notation import error_key, format_value
from landscape.results.relations import MismatchError
from landscape.results.spec import (
    OK,
    STATUSES,
    Anything,
    Items,
    Maybe,
    Numbers,
    Record,
    Scope,
    Table,
    Text,
    count,
    flag,
)
from landscape.trees import by_path, empties_by_path

__all__ = ["Result", "load_result", "same_fields"]

SCHEMA = "landscape-result"
VERSION = (1, 0)

_KINDS: dict[str, type[Result]] = {}
_MODULES = {
    "aligned": "landscape.alignment.aligned",
    "alignment": "landscape.curvature.alignment",
    "barrier": "landscape.connectivity.barrier",
    "barrier_matrix": "landscape.connectivity.matrix",
    "connecting_curve": "landscape.connectivity.curves",
    "curvature": "landscape.curvature.table",
    "diagonal": "landscape.curvature.estimates",
    "eigenpairs": "landscape.curvature.eigenpairs",
    "flatness": "landscape.flatness.results",
    "flatness_measure": "landscape.flatness.results",
    "frobenius_norm": "landscape.curvature.estimates",
    "loss_line": "landscape.surfaces.slices",
    "rollout": "landscape.rollouts.episodes",
    "scale_curvature": "landscape.curvature.scale",
    "smoothed_diagonal": "landscape.curvature.smoothed_results",
    "smoothed_gradient": "landscape.curvature.smoothed_results",
    "smoothed_trace": "landscape.curvature.smoothed_results",
    "spectral_density": "landscape.curvature.density",
    "surface": "landscape.surfaces.surface",
    "trace": "landscape.curvature.estimates",
    "trajectory": "landscape.surfaces.trajectories",
}

# What is stored of every result beside its own fields; of settings and statistics, what is read again.
_STORED = Record(
    {
        "status": Text(),
        "warnings": Items(Text()),
        "stats": Record(
            {
                "num_examples": Maybe(count()),
                "weights": Maybe(
                    Record({"examples": count(), "effective_examples": Numbers(finite=True, least=0)})
                ),
            }
        ),
        "provenance": Table(Anything()),
        "fields": Table(Anything()),
    }
)
_CONFIG = Record(
    {
        "split": Maybe(Text()),
        "which": Maybe(Text()),
        "confidence": Maybe(Numbers(finite=True, least=0, most=1)),
        "higher_is_better": Maybe(Table(flag())),
    }
)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Result:
    """Base of the results of all analyses.

    Attributes
    ----------
    status : str
        ``"ok"``, or a word that says why the numbers are not to be trusted as they stand
        (``"incomplete"``, ``"non-finite"``, …). The command line exits with 4 unless it is ``"ok"``.
    warnings : tuple of str
        What a user must know before quoting the numbers.
    config : dict
        The resolved settings: enough to run the analysis again.
    stats : dict
        Counts (evaluations, products, examples) and seconds.
    provenance : dict
        Versions, seed, device, dtype, digests of parameters and data.
    """

    kind: ClassVar[str]
    # What a stored one may hold, see `landscape.results.spec`; checked when it is loaded.
    statuses: ClassVar[tuple[str, ...]] = STATUSES
    spec: ClassVar[Record] = Record({})

    status: str = "ok"
    warnings: tuple[str, ...] = ()
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    stats: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "kind" in cls.__dict__:
            _KINDS[cls.kind] = cls

    @property
    def trustworthy(self) -> bool:
        """Whether the status is ``"ok"``."""
        return self.status == "ok"

    def data(self) -> dict[str, Any]:
        """Return the data fields, without status, statistics and provenance."""
        base = {field.name for field in dataclasses.fields(Result)}
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in base}

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form: schema, status, data, warnings, stats, config and provenance.

        Arrays become lists and non-finite numbers become null, so that the text is strict JSON.
        """
        return {
            "schema": f"landscape.{self.kind}/1",
            "status": self.status,
            "data": jsonable(self.data()),
            "warnings": list(self.warnings),
            "stats": jsonable(self.stats),
            "config": jsonable(self.config),
            "provenance": jsonable(self.provenance),
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """Return `to_dict` as strict JSON."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False, ensure_ascii=False)

    def rows(self) -> list[tuple[str, str]]:
        """Return the (label, value) lines of the printed form; subclasses choose what matters."""
        scalars = ((name, value) for name, value in self.data().items() if np.ndim(value) == 0)
        return [(name, format_value(value)) for name, value in scalars if not isinstance(value, Mapping)]

    def printed(self) -> list[tuple[str, str]]:
        """Return `rows` with, behind the first, a line that says what ± and brackets are where they stand."""
        rows = self.rows()
        key = error_key((value for _, value in rows), self._confidence())
        return [*rows[:1], *([("errors", key)] if key else []), *rows[1:]]

    def _confidence(self) -> float:
        """Return the coverage of the intervals."""
        stated = getattr(self, "confidence", None) or self.config.get("confidence")
        return float(stated) if isinstance(stated, (int, float)) else 0.95

    def counted(self) -> str:
        """Return how many examples the numbers are means over; of weighted ones also the effective number."""
        text = f"{format_value(self.stats.get('num_examples'))} examples"
        weights = self.stats.get("weights")
        if not weights:
            return text
        return f"{text}, weighted (effective number {format_value(float(weights['effective_examples']))})"

    def plot(self) -> Any:
        """Return a Plotly figure of the result."""
        from landscape.results.drawing import figure_of

        return figure_of(self)

    def relative_to(self, folder: str | Path) -> Self:
        """Return the result with the absolute paths in it relative to `folder`.

        Parameters
        ----------
        folder : path
            The folder of the file that the result is written to. Of a path elsewhere on the machine only
            the last name is left.
        """
        names = [field.name for field in dataclasses.fields(self)]
        public = without_folders({name: getattr(self, name) for name in names}, folder)
        return dataclasses.replace(self, **public)

    def to_dataframe(self) -> Any:
        """Return the result as a pandas table, one row per point; its ``attrs`` say what the columns hold.

        Raises
        ------
        MissingDependencyError
            If pandas is not installed.
        """
        import importlib

        from landscape.results.drawing import ROWS_FROM, rows_of

        try:
            pandas: Any = importlib.import_module("pandas")
        except ImportError as error:
            raise MissingDependencyError(
                "a data frame needs pandas, which is not installed",
                hint="pip install pandas, or write CSV: -o result.csv",
            ) from error
        columns = importlib.import_module(ROWS_FROM).COLUMNS
        frame = pandas.DataFrame(rows_of(self), columns=list(columns))
        frame.attrs["columns"] = dict(columns)
        return frame

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write the result to an HDF5 file, atomically; names of files in it are relative to its folder.

        Raises
        ------
        OutputExistsError
            If `path` exists and `force` is false.
        CheckpointError
            If the file could not be written; nothing is left behind.
        """
        path = Path(path).expanduser()
        return self.relative_to(path.parent)._write(path, force=force)

    def _write(self, path: Path, *, force: bool) -> Path:
        arrays = {f"data/{name}": value for name, value in by_path(self.data()).items() if _is_array(value)}
        plain = {name: value for name, value in by_path(self.data()).items() if not _is_array(value)}
        plain |= empties_by_path(self.data())
        texts = {
            "config": dump_json(self.config),
            "provenance": dump_json(
                {
                    "provenance": self.provenance,
                    "status": self.status,
                    "warnings": list(self.warnings),
                    "stats": self.stats,
                    "fields": plain,
                }
            ),
        }
        return writing.write(
            path,
            schema=SCHEMA,
            version=VERSION,
            arrays=arrays,
            texts=texts,
            attrs={"kind": self.kind},
            force=force,
        )

    def __str__(self) -> str:
        rows = [*self.printed(), *((("status", self.status),) if self.status != "ok" else ())]
        width = max((len(label) for label, _ in rows), default=0)
        lines = [f"{label:<{width}}  {value}" for label, value in rows]
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])

    def __repr__(self) -> str:
        body = "\n".join(f"  {line}" for line in str(self).splitlines()[:11])
        return f"{type(self).__name__}(\n{body}\n)"

    def _repr_html_(self) -> str:
        """Return a plain table; every text is escaped."""
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(label)}</th><td>{html.escape(value)}</td></tr>"
            for label, value in [*self.printed(), ("status", self.status)]
        )
        return f"<table><caption>{html.escape(type(self).__name__)}</caption>{rows}</table>"

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], **base: Any) -> Self:
        """Build a result from stored fields; subclasses override where types need mending."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in fields.items() if name in names}, **base)


def same_fields(one: Result, other: Result) -> bool:
    """Return whether two results of one kind agree in every field, NaN equal to NaN."""
    fields = [field.name for field in dataclasses.fields(one)]
    mine, theirs = ({name: getattr(x, name) for name in fields} for x in (one, other))
    return dump_json(mine) == dump_json(theirs)


def load_result(path: str | Path) -> Result:
    """Load a result that `Result.save` wrote.

    Raises
    ------
    CheckpointError
        If the file is damaged, hostile, of a newer major schema or not a result.
    """
    import importlib

    from landscape.trees import nest

    content = archive.read(Path(path), schema=SCHEMA, version=VERSION)
    kind = str(content.attrs.get("kind", ""))
    if kind not in _KINDS and kind in _MODULES:
        importlib.import_module(_MODULES[kind])
    if kind not in _KINDS:
        raise CheckpointError(
            f"{path}: result of an unknown kind {kind!r}",
            expected="one of " + ", ".join(sorted({*_KINDS, *_MODULES})),
            hint="Update landscape, or check that the file is a result and not a checkpoint.",
        )
    stored, config = content.mapping("provenance"), content.mapping("config")
    arrays = {name.removeprefix("data/"): value for name, value in content.arrays.items()}
    with boundary(Path(path), "its fields are not those of a result"), _refusing(path, kind):
        _STORED.check(stored, "", Scope())
        if set(arrays) & set(stored["fields"]):
            raise ValueError("a field is stored twice")
        fields = nest({**arrays, **stored["fields"]})
        _check(_KINDS[kind], fields, status=stored["status"], config=config)
        return _KINDS[kind].from_fields(
            fields,
            status=stored["status"],
            warnings=tuple(stored["warnings"]),
            stats=dict(stored["stats"]),
            config=config,
            provenance=dict(stored["provenance"]),
        )


def _check(kind: type[Result], fields: Any, *, status: str, config: Mapping[str, Any]) -> None:
    """Refuse fields that are not those of a class; the status comes first, since it says what is promised."""
    Text(kind.statuses).check(status, "status", Scope())
    _CONFIG.check(config, "config", Scope())
    kind.spec.check(fields, "", Scope(trusted=status == OK))


@contextlib.contextmanager
def _refusing(path: str | Path, kind: str) -> Iterator[None]:
    """Turn what a class does not declare into one error that names file and field."""
    try:
        yield
    except MismatchError as error:
        raise CheckpointError(
            f"{path}: its {error.where or 'fields'} cannot be that of a result of kind {kind!r}",
            expected=error.expected,
            got=error.got,
            hint="Measure again: the file is whole, but what it holds was not written by landscape.",
        ) from error


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or hasattr(value, "__array__")
