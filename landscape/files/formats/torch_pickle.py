"""The pickles inside PyTorch's files, read by an interpreter that cannot call anything.

A pickle is a program for a stack machine. This one knows the instructions that build numbers, texts,
lists, tuples and dictionaries; what a pickle asks for by name is a symbol here, and is refused unless it
is one of the few names by which PyTorch describes tensors. So nothing of the file runs, and torch is not
needed. What ``torch.load(weights_only=True)`` lets through is the model for what is known here.
"""

from __future__ import annotations

import dataclasses
import io
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from landscape.errors import CheckpointError
from landscape.files.formats.entries import MAX_RANK
from landscape.files.hdf5 import refused

_STORAGES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16",
    "CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128",
}  # fmt: skip
_DTYPES = {
    name: name
    for name in (
        "float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16",
        "uint32", "uint64", "bool", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2",
        "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2", "complex32",
    )
}  # fmt: skip
_CONTAINERS = {("collections", name) for name in ("OrderedDict", "defaultdict", "Counter")}
_TENSORS = {
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_tensor_v3"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_parameter_with_state"),
    ("torch._tensor", "_rebuild_from_type_v2"),
}
_TYPES = {
    ("torch", "Tensor"),
    ("torch.nn.parameter", "Parameter"),
    ("torch.nn.parameter", "Buffer"),
    ("torch", "Size"),
    ("torch", "device"),
}
_MAX_STEPS = 1_000_000  # a tensor takes about 35
_MAX_COPIED = 1_000_000  # items of dictionaries that are made of other containers
_MAX_KEY = 2**53  # whole numbers as keys: larger ones are made to collide


@dataclasses.dataclass(frozen=True)
class Symbol:
    """A name that the file asks for; it is never looked up."""

    module: str
    name: str

    @property
    def key(self) -> tuple[str, str]:
        """Module and name."""
        return self.module, self.name


@dataclasses.dataclass(frozen=True)
class Storage:
    """The bytes of one or several tensors: their member in the archive, their type if it is known."""

    key: str
    dtype: str | None
    length: int  # numbers of `dtype`, or bytes


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A view of a storage; offset and strides in numbers."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Mark:
    """A place on the stack."""


_MARK = _Mark()


def read_pickle(path: Path, data: bytes) -> Any:
    """Return what a pickle describes: numbers, texts and containers with `Tensor` in them.

    Raises
    ------
    CheckpointError
        If it asks for anything that is not a tensor or container, naming it, or makes no sense.
    """
    machine = _Machine(path)
    for count, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(data))):
        if count > _MAX_STEPS:
            raise refused(path, "its pickle is too long", expected=f"at most {_MAX_STEPS:,} instructions")
        machine.step(opcode.name, argument)
    if len(machine.stack) != 1:
        raise refused(path, "its pickle does not end with one value")
    return machine.stack[0]


class _Machine:
    """Stack and memo of one pickle."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.copied = 0

    def step(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _ACTIONS:
            _ACTIONS[name](self, argument)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise refused(
                self.path, f"its pickle uses the instruction {name}", expected="tensors and containers only"
            )

    def pop(self) -> Any:
        """Take the value on top."""
        if not self.stack or self.stack[-1] is _MARK:
            raise refused(self.path, "its pickle takes more from the stack than is there")
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        """Return the container on top, which stays."""
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise refused(self.path, f"its pickle expects a {kind.__name__}")
        return self.stack[-1]

    def since_mark(self) -> list[Any]:
        """Take all values down to the last mark, and the mark."""
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                found = self.stack[i + 1 :]
                del self.stack[i:]
                return found
        raise refused(self.path, "its pickle has no mark where it needs one")

    def put(self, place: int | None) -> None:
        """Remember the value on top."""
        if not self.stack:
            raise refused(self.path, "its pickle remembers nothing")
        self.memo[len(self.memo) if place is None else place] = self.stack[-1]

    def get(self, place: int) -> None:
        """Push what was remembered."""
        if place not in self.memo:
            raise refused(self.path, "its pickle recalls what it never remembered")
        self.stack.append(self.memo[place])

    def symbol(self, module: Any, name: Any) -> None:
        """Push a name that is known; anything else is refused by it."""
        key = (str(module), str(name))
        known = key in _CONTAINERS | _TENSORS | _TYPES or _storage_type(key) or _dtype(key)
        if not known:
            raise CheckpointError(
                f"{self.path}: refused: it asks for {'.'.join(key)[:200]}",
                expected="tensors and containers only: anything else could run code from the file",
                hint="Save the weights alone: torch.save(model.state_dict(), FILE), or as safetensors.",
            )
        self.stack.append(Symbol(*key))

    def fill(self, pairs: list[Any]) -> None:
        """Set items of the dictionary on top."""
        target = self.top(dict)
        if len(pairs) % 2:
            raise refused(self.path, "its pickle has a key without a value")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[self.key(key)] = value

    def key(self, key: Any) -> Any:
        """Return a key: a text or a number. Tuples nested without end could not even be hashed."""
        small = type(key) is int and abs(key) < _MAX_KEY
        if not (small or key is None or type(key) in (str, bool, float)):
            raise refused(self.path, f"a key that is neither text nor number: {type(key).__name__}")
        return key

    def build(self) -> None:
        """Drop the attributes of a container (the notes that a state dict carries), refuse all others."""
        self.pop()
        self.top(dict)

    def call(self) -> None:
        """Make what a known name and its arguments describe."""
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Symbol) or not isinstance(arguments, tuple):
            raise refused(self.path, "its pickle calls what cannot be called")
        if function.key in _CONTAINERS:
            self.stack.append(self.dictionary(arguments))
        elif function.key in _TENSORS:
            self.stack.append(_tensor(self.path, function, arguments))
        elif function.key == ("torch", "Size"):
            self.stack.append(_lengths(self.path, arguments[0]))
        elif function.key == ("torch", "device"):
            self.stack.append("device")
        else:
            raise refused(self.path, f"its pickle calls {function.module}.{function.name}")

    def dictionary(self, arguments: tuple[Any, ...]) -> dict[Any, Any]:
        """Return a new dictionary; those that count, are ordered or have a default are plain ones here."""
        given = arguments[-1] if arguments and not isinstance(arguments[-1], Symbol) else ()
        self.copied += len(given)  # each instruction is short, and could copy much
        if self.copied > _MAX_COPIED:
            raise refused(self.path, "its pickle copies containers again and again")
        pairs = given.items() if isinstance(given, dict) else given
        return {self.key(key): value for key, value in pairs}

    def storage(self, said: Any) -> None:
        """Push the storage that a tensor refers to: ('storage', type, key, place, length)."""
        if (
            not isinstance(said, tuple)
            or len(said) != 5
            or said[0] != "storage"
            or not isinstance(said[1], Symbol)
        ):
            raise refused(self.path, "its pickle refers to something that is not a storage")
        dtype, (key, _, length) = _STORAGES.get(said[1].name), said[2:]
        if (
            not _storage_type(said[1].key)
            or not isinstance(key, str)
            or type(length) is not int
            or length < 0
        ):
            raise refused(self.path, "its pickle refers to a storage of no known kind")
        self.stack.append(Storage(key, dtype, length))


def _storage_type(key: tuple[str, str]) -> bool:
    return (key[0] == "torch" and key[1] in _STORAGES) or key == ("torch.storage", "UntypedStorage")


def _dtype(key: tuple[str, str]) -> bool:
    return key[0] == "torch" and key[1] in _DTYPES


def _tensor(path: Path, function: Symbol, arguments: tuple[Any, ...]) -> Any:
    """Return the tensor that a call of torch's functions describes."""
    if function.name.startswith("_rebuild_parameter"):
        return _checked(path, arguments[0])
    if function.name == "_rebuild_from_type_v2":  # function, class, arguments, attributes
        inner = arguments[0]
        if not isinstance(inner, Symbol) or inner.key not in _TENSORS or inner == function:
            raise refused(path, "a tensor made by what makes no tensors")
        return _tensor(path, inner, tuple(arguments[2]))
    storage, offset, shape, strides = arguments[:4]
    if not isinstance(storage, Storage) or type(offset) is not int or offset < 0:
        raise refused(path, "a tensor without a storage")
    dtype = storage.dtype
    if function.name == "_rebuild_tensor_v3":
        said = arguments[6]
        dtype = said.name if isinstance(said, Symbol) and _dtype(said.key) else None
    return Tensor(storage, dtype or "uint8", offset, _lengths(path, shape), _lengths(path, strides))


def _checked(path: Path, given: Any) -> Tensor:
    if not isinstance(given, Tensor):
        raise refused(path, "a parameter without a tensor")
    return given


def _lengths(path: Path, given: Any) -> tuple[int, ...]:
    short = isinstance(given, (tuple, list)) and len(given) <= MAX_RANK
    if not short or not all(type(n) is int and 0 <= n < 2**48 for n in given):
        raise refused(path, "a tensor whose shape or strides are invalid")
    return tuple(given)


_VALUES = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "INT", "LONG", "FLOAT",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BINSTRING", "SHORT_BINSTRING", "STRING",
}  # fmt: skip
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": list,
    "MARK": lambda: _MARK,
}


def _replace_top(count: int) -> Callable[[_Machine, Any], None]:
    """Return the instruction that makes a tuple of this number of values."""

    def make(machine: _Machine, _: Any) -> None:
        taken = [machine.pop() for _ in range(count)]
        machine.stack.append(tuple(reversed(taken)))

    return make


def _global(machine: _Machine, said: str) -> None:
    module, _, name = said.partition(" ")
    machine.symbol(module, name)


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.pop(), machine.pop()
    machine.symbol(module, name)


def _setitem(machine: _Machine, _: Any) -> None:
    value, key = machine.pop(), machine.pop()
    machine.fill([key, value])


def _append(machine: _Machine, _: Any) -> None:
    value = machine.pop()
    machine.top(list).append(value)


def _appends(machine: _Machine, _: Any) -> None:
    values = machine.since_mark()
    machine.top(list).extend(values)


def _dict(machine: _Machine, _: Any) -> None:
    pairs = machine.since_mark()
    machine.stack.append({})
    machine.fill(pairs)


_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "TUPLE1": _replace_top(1),
    "TUPLE2": _replace_top(2),
    "TUPLE3": _replace_top(3),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.since_mark())),
    "LIST": lambda machine, _: machine.stack.append(machine.since_mark()),
    "DICT": _dict,
    "SETITEM": _setitem,
    "SETITEMS": lambda machine, _: machine.fill(machine.since_mark()),
    "APPEND": _append,
    "APPENDS": _appends,
    "ADDITEMS": _appends,
    "BINPUT": lambda machine, place: machine.put(place),
    "LONG_BINPUT": lambda machine, place: machine.put(place),
    "PUT": lambda machine, place: machine.put(place),
    "MEMOIZE": lambda machine, _: machine.put(None),
    "BINGET": lambda machine, place: machine.get(place),
    "LONG_BINGET": lambda machine, place: machine.get(place),
    "GET": lambda machine, place: machine.get(place),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": lambda machine, _: machine.call(),
    "NEWOBJ": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.storage(machine.pop()),
    "POP": lambda machine, _: machine.stack.pop() if machine.stack else None,
}
