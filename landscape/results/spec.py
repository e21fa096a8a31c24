"""What the fields of a stored result may hold: declared once per class, checked when it is loaded. No jax.

A class says with `Record` what each of its fields is: numbers of a shape, texts, lists, mappings.

- Dimensions have names. The first field that has a dimension sets its size; every later one must agree. A
  name that is first used within an item of a list holds for that item alone.
- Numbers must be finite always, never, or where the status is ``"ok"``.
- What fields owe to each other are relations (`landscape.results.relations`).
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from landscape.results.relations import MismatchError, Relation

__all__ = [
    "MOST_KEPT", "OK", "STATUSES", "Anything", "Check", "Items", "Later", "Maybe", "Numbers", "Plain",
    "Record", "Scope", "Table", "Text", "count", "fact", "flag", "interval", "means_by_split",
]  # fmt: skip

OK = "ok"
STATUSES = (OK, "incomplete", "non-finite", "not-converged", "not-found", "indefinite")
MOST_DRAWN = 1_000_000  # numbers of an array that is drawn: three million points took 22 s and 1 GiB
MOST_KEPT = 50_000_000  # of one that is not drawn number by number; weights have no limit but the file's
MOST_CHARACTERS = 10_000
_KINDS = {"float": "fiu", "int": "iu", "bool": "b"}
_NOUNS = {"float": "numbers", "int": "whole numbers", "bool": "true or false"}


@dataclasses.dataclass(frozen=True)
class Scope:
    """What the fields before have settled.

    Attributes
    ----------
    sizes : dict
        By name of a dimension its size, and the field that set it.
    trusted : bool
        Whether the status of the innermost record that has one is ``"ok"``.
    """

    sizes: dict[str, tuple[int, str]] = dataclasses.field(default_factory=dict)
    trusted: bool = True

    def agree(self, name: str, size: int, where: str) -> None:
        """Set the size of a dimension, or compare with the one that was set."""
        known, setter = self.sizes.setdefault(name, (size, where))
        if known != size:
            raise MismatchError(where, expected=f"{known:,} entries, as {setter} has", got=f"{size:,}")


class Check(abc.ABC):
    """What one stored value may be."""

    @abc.abstractmethod
    def check(self, value: Any, where: str, scope: Scope) -> None:
        """Refuse a value.

        Raises
        ------
        MismatchError
            Naming the field.
        """


@dataclasses.dataclass(frozen=True)
class Anything(Check):
    """No condition: for what only people read."""

    def check(self, value: Any, where: str, scope: Scope) -> None:
        """Accept everything."""


@dataclasses.dataclass(frozen=True)
class Maybe(Check):
    """None, or absent from its record unless that is ruled out, or what `inner` says."""

    inner: Check
    absent: bool = True

    def check(self, value: Any, where: str, scope: Scope) -> None:
        """Check what is there."""
        if value is not None:
            self.inner.check(value, where, scope)


@dataclasses.dataclass(frozen=True)
class Later(Check):
    """What `inner` says, or absent: results of older versions lack it, and its class has a default."""

    inner: Check

    def check(self, value: Any, where: str, scope: Scope) -> None:
        """Check what is there."""
        self.inner.check(value, where, scope)


@dataclasses.dataclass(frozen=True)
class Plain(Check):
    """A single text, number or truth value."""

    def check(self, value: Any, where: str, scope: Scope) -> None:
        """Refuse what has parts."""
        if isinstance(value, str):
            Text().check(value, where, scope)
        elif isinstance(value, (list, tuple, Mapping)) or np.ndim(value):
            raise MismatchError(where, expected="a text or a number", got=_described(value))


@dataclasses.dataclass(frozen=True)
class Text(Check):
    """A text, or one of several words."""

    choices: tuple[str, ...] = ()

    def check(self, value: Any, where: str, scope: Scope) -> None:  # noqa: ARG002  as of every check
        """Refuse what is no text, too long a text, or none of the words."""
        if not isinstance(value, str):
            raise MismatchError(where, expected="a text", got=_described(value))
        if len(value) > MOST_CHARACTERS:
            expected = f"at most {MOST_CHARACTERS:,} characters"
            raise MismatchError(where, expected=expected, got=f"{len(value):,}")
        if self.choices and value not in self.choices:
            raise MismatchError(where, expected=" or ".join(map(repr, self.choices)), got=repr(value[:40]))


class Numbers(Check):
    """Numbers of a shape; without dimensions a single one.

    Parameters
    ----------
    *dims : str, int or None
        Name of each dimension, or its size, or None where it is free.
    kind : {"float", "int", "bool"}
        Whole numbers are welcome as floats, not the other way round.
    finite : bool or "ok"
        Whether NaN and infinity are refused: always, never, or where the status is ``"ok"``.
    least, most : float, optional
        Limits.
    increasing : bool
        Whether each must be more than the one before.
    ordered : bool
        Whether the last dimension is (low, high) with low ≤ high.
    below, equals : str, optional
        A dimension whose size each number lies below, or is.
    fewest, longest : int, optional
        Entries of the first dimension.
    limit : int or None
        Most numbers.
    """

    def __init__(  # noqa: PLR0913  one keyword per condition
        self,
        *dims: str | int | None,
        kind: Literal["float", "int", "bool"] = "float",
        finite: bool | Literal["ok"] = False,
        least: float | None = None,
        most: float | None = None,
        increasing: bool = False,
        ordered: bool = False,
        below: str | None = None,
        equals: str | None = None,
        fewest: int = 0,
        longest: int | None = None,
        limit: int | None = MOST_DRAWN,
    ) -> None:
        self.dims, self.kind, self.finite = dims, kind, finite
        self.least, self.most = least, most
        self.increasing, self.ordered = increasing, ordered
        self.below, self.equals = below, equals
        self.fewest, self.longest, self.limit = fewest, longest, limit

    def check(self, value: Any, where: str, scope: Scope) -> None:
        """Refuse another type, shape or range."""
        array = self._array(value, where)
        self._check_shape(array, where, scope)
        if array.size and self.kind != "bool" and array.dtype.kind != "V":
            self._check_finite(array, where, scope)
            self._check_range(array, where)
            self._check_order(array, where)
            self._check_sizes(array, where, scope)

    def _array(self, value: Any, where: str) -> np.ndarray:
        """Return the value as an array of its kind and rank; nothing large is computed of another."""
        expected = _NOUNS[self.kind] if self.dims else _NOUNS[self.kind].removesuffix("s")
        named = any(isinstance(dim, str) for dim in self.dims)  # what has a size of its own is an array
        if (
            (named and not isinstance(value, np.ndarray))
            or isinstance(value, (str, Mapping))
            or value is None
        ):
            raise MismatchError(where, expected=expected, got=_described(value))
        try:
            array = np.asarray(value)
        except (ValueError, TypeError, OverflowError) as error:
            raise MismatchError(where, expected=expected, got="a list that is no array") from error
        # Types beyond NumPy's own, such as bfloat16, are of kind V.
        wide = self.kind == "float" and array.dtype.kind == "V" and array.dtype.names is None
        if array.size and array.dtype.kind not in _KINDS[self.kind] and not wide:
            raise MismatchError(where, expected=expected, got=_described(value))
        if array.ndim != len(self.dims):
            ranks = f"{len(self.dims)} dimensions" if self.dims else expected
            raise MismatchError(where, expected=ranks, got=f"shape {array.shape}")
        return array

    def _check_shape(self, array: np.ndarray, where: str, scope: Scope) -> None:
        if self.limit is not None and array.size > self.limit:
            raise MismatchError(where, expected=f"at most {self.limit:,} numbers", got=f"{array.size:,}")
        for dim, size in zip(self.dims, array.shape, strict=True):
            if isinstance(dim, str):
                scope.agree(dim, size, where)
            elif dim is not None and dim != size:
                raise MismatchError(where, expected=f"{dim} entries", got=f"shape {array.shape}")
        if self.dims and array.shape[0] < self.fewest:
            raise MismatchError(where, expected=f"{self.fewest} entries or more", got=str(array.shape[0]))
        if self.longest is not None and array.shape[0] > self.longest:
            raise MismatchError(
                where, expected=f"at most {self.longest:,} entries", got=f"{array.shape[0]:,}"
            )

    def _check_finite(self, array: np.ndarray, where: str, scope: Scope) -> None:
        promised = self.finite is True or (self.finite == OK and scope.trusted)
        if promised and not np.isfinite(array).all():
            because = "" if self.finite is True else " where the status is ok"
            bad = array[~np.isfinite(array)].ravel()[0] if array.ndim else array
            raise MismatchError(where, expected=f"finite numbers{because}", got=str(bad))

    def _check_range(self, array: np.ndarray, where: str) -> None:
        if self.least is not None and (array < self.least).any():
            raise MismatchError(where, expected=f"{self.least:g} or more", got=f"{np.nanmin(array):g}")
        if self.most is not None and (array > self.most).any():
            raise MismatchError(where, expected=f"{self.most:g} or less", got=f"{np.nanmax(array):g}")

    def _check_order(self, array: np.ndarray, where: str) -> None:
        if self.increasing and not (array[1:] > array[:-1]).all():
            raise MismatchError(where, expected="ascending numbers", got="others")
        if self.ordered and (array[..., 0] > array[..., 1]).any():
            worst = array.reshape(-1, 2)[(array[..., 0] > array[..., 1]).ravel()][0]
            raise MismatchError(where, expected="low ≤ high", got=f"[{worst[0]:g}, {worst[1]:g}]")

    def _check_sizes(self, array: np.ndarray, where: str, scope: Scope) -> None:
        if self.below is not None and self.below in scope.sizes:
            size, setter = scope.sizes[self.below]
            if (array >= size).any():
                expected = f"positions among the {size:,} entries of {setter}"
                raise MismatchError(where, expected=expected, got=str(array.max()))
        if self.equals is not None:
            scope.agree(self.equals, int(array), where)


@dataclasses.dataclass(frozen=True)
class Items(Check):
    """A list; `size` is the name of its length, or the length."""

    inner: Check
    size: str | int | None = None

    def check(self, value: Any, where: str, scope: Scope) -> None:
        """Check the length and each item; what an item is the first to name is its own."""
        if not isinstance(value, (list, tuple)):
            raise MismatchError(where, expected="a list", got=_described(value))
        if isinstance(self.size, str):
            scope.agree(self.size, len(value), where)
        elif self.size is not None and self.size != len(value):
            raise MismatchError(where, expected=f"{self.size} entries", got=str(len(value)))
        for i, item in enumerate(value):
            self.inner.check(item, f"{where}[{i}]", dataclasses.replace(scope, sizes=dict(scope.sizes)))


@dataclasses.dataclass(frozen=True)
class Table(Check):
    """A mapping from any text to values of one form."""

    inner: Check

    def check(self, value: Any, where: str, scope: Scope) -> None:
        """Check each value."""
        for key, item in _mapping(value, where).items():
            self.inner.check(item, f"{where}.{key}", scope)


@dataclasses.dataclass(frozen=True)
class Record(Check):
    """A mapping of named values.

    Attributes
    ----------
    fields : dict
        By name what each is, in the order of the checks. Other names are free.
    relations : tuple of Relation
        Checked once every field is what it should be.
    endings : dict
        By the ending of a name what the values of such further names are; ``""`` ends every name.
    """

    fields: Mapping[str, Check]
    relations: tuple[Relation, ...] = ()
    endings: Mapping[str, Check] = dataclasses.field(default_factory=dict)

    def check(self, value: Any, where: str, scope: Scope) -> None:
        """Check each field, then what they owe to each other."""
        record, prefix = _mapping(value, where), f"{where}." if where else ""
        if isinstance(record.get("status"), str):
            scope = dataclasses.replace(scope, trusted=record["status"] == OK)
        for name, inner in self.fields.items():
            if name in record:
                inner.check(record[name], f"{prefix}{name}", scope)
            elif not (isinstance(inner, Later) or (isinstance(inner, Maybe) and inner.absent)):
                raise MismatchError(f"{prefix}{name}", expected="a value", got="none")
        for name, item in record.items():
            ending = next((end for end in self.endings if name.endswith(end)), None)
            if ending is not None and name not in self.fields:
                self.endings[ending].check(item, f"{prefix}{name}", scope)
        for relation in self.relations:
            relation.check(record, prefix)


def fact() -> Maybe:
    """Return what a checkpoint states of its network: a text or a number, or None; never absent."""
    return Maybe(Plain(), absent=False)


def count(*dims: str | int, least: int = 0, equals: str | None = None) -> Numbers:
    """Return whole numbers that count something."""
    return Numbers(*dims, kind="int", least=least, equals=equals)


def flag(*dims: str | int) -> Numbers:
    """Return truth values."""
    return Numbers(*dims, kind="bool")


def interval(*dims: str | int) -> Maybe:
    """Return pairs of low ≤ high; NaN where there is none."""
    return Maybe(Numbers(*dims, 2, ordered=True))


def means_by_split(means: Numbers) -> Table:
    """Return means by split and metric; the loss is one of the metrics of each split."""
    return Table(Record({"loss": means}, endings={"": means}))


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise MismatchError(where, expected="a mapping", got=_described(value))
    return value


def _described(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype.name}"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"a list of {len(value):,}"
    return f"{type(value).__name__} {str(value)[:40]!r}"
