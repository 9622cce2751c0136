"""`@value`: small frozen classes, as `@dataclass(frozen=True, slots=True, kw_only=True)` makes them.

The standard decorator compiles its methods from text: about a millisecond a class, and 20 ms to import it,
which every start of `orch` and of a worker would pay. This one only fills in slots. Type checkers treat
both alike (PEP 681). A value is compared, hashed, printed and matched by its fields; it has no parents
with fields, no order, and cannot be changed: `replace` makes another one.
"""

from __future__ import annotations

from collections.abc import Callable

TYPE_CHECKING = False  # what type checkers go by; `typing` itself costs 4 ms
if TYPE_CHECKING:
    from typing import Any, TypeVar, dataclass_transform

    T = TypeVar("T")
else:

    def dataclass_transform(**_):
        return lambda function: function


_MISSING: Any = object()
#: From this value of a class on, an `__init__` that is compiled pays.
_MANY = 50


class _Factory:
    """A default that is made anew for each value."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def field(*, default_factory: Callable[[], T]) -> T:
    """A default that must not be shared, as of `dataclasses`."""
    return _Factory(default_factory)  # type: ignore[return-value]


def replace(one: T, **changes: Any) -> T:
    """The same value with some fields changed."""
    kept = {name: getattr(one, name) for name in one.__slots__}  # type: ignore[attr-defined]
    return type(one)(**(kept | changes))


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """Make `cls` a value: its annotated names are the fields, their assignments the defaults."""
    names = tuple(cls.__annotations__)
    defaults = [cls.__dict__.get(name, _MISSING) for name in names]
    namespace = {
        name: kept
        for name, kept in cls.__dict__.items()
        if name not in names and name not in ("__dict__", "__weakref__")
    }
    namespace.update(__slots__=names, __setattr__=_refuse, __delattr__=_refuse)
    for name, method in (
        ("__repr__", _show), ("__eq__", _equals), ("__hash__", _hash), ("__reduce__", _reduce)
    ):  # fmt: skip
        namespace.setdefault(name, method)
    kind: Any = type(cls)
    made: Any = kind(cls.__name__, cls.__bases__, namespace)
    rows = tuple(
        (name, made.__dict__[name].__set__, default)
        for name, default in zip(names, defaults, strict=True)
    )

    puts = {name: put for name, put, _ in rows}
    left = _MANY

    def __init__(self: Any, **given: Any) -> None:
        nonlocal left
        left -= 1
        if not left and rows:
            made.__init__ = _compile(rows)
        for name, one in given.items():
            if name not in puts:
                raise TypeError(f"{cls.__name__} has no {name}")
            puts[name](self, one)
        if len(given) == len(rows):
            return
        for name, put, default in rows:
            if name in given:
                continue
            if default is _MISSING:
                raise TypeError(f"{cls.__name__} needs {name}=")
            put(self, default.make() if default.__class__ is _Factory else default)

    made.__init__ = __init__
    return made  # type: ignore[no-any-return]


def _compile(rows: tuple[tuple[str, Any, Any], ...]) -> Any:
    """The same `__init__`, several times as fast, for 0.1 ms: where there are many values."""
    takes, puts = [], []
    names: dict[str, Any] = {"_missing_": _MISSING}
    for at, (name, put, default) in enumerate(rows):
        names[f"_put{at}_"] = put
        takes.append(name if default is _MISSING else f"{name}=_default{at}_")
        puts.append(f"_put{at}_(self, {name})")
        if default.__class__ is _Factory:
            names[f"_make{at}_"], default = default.make, _MISSING
            puts[-1] = f"_put{at}_(self, _make{at}_() if {name} is _missing_ else {name})"
        names[f"_default{at}_"] = default
    # Of the names of the fields alone, which stand in our own source; `dataclasses` does the same.
    exec(f"def __init__(self, *, {', '.join(takes)}): {'; '.join(puts)}", names)
    return names["__init__"]


def _fields(self: Any) -> tuple[Any, ...]:
    return tuple([getattr(self, name) for name in self.__slots__])


def _show(self: Any) -> str:
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
    return f"{type(self).__qualname__}({shown})"


def _equals(self: Any, other: object) -> Any:
    return _fields(self) == _fields(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_fields(self))


def _refuse(self: Any, name: str, *_: object) -> None:
    raise AttributeError(f"{type(self).__name__}.{name} cannot be changed: a value is frozen")


def _reduce(self: Any) -> tuple[Any, ...]:
    return _build, (type(self), _fields(self))


def _build(cls: type[T], values: tuple[Any, ...]) -> T:
    return cls(**dict(zip(cls.__slots__, values, strict=True)))  # type: ignore[attr-defined]
