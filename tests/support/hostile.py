"""Values all of whose texts are one text, for the law that no text of a user breaks what it is shown in."""

from __future__ import annotations

import builtins
import sys
import types
import typing
from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from msgspec import Struct


def filled(kind: type[Any], text: str, /, **known: object) -> Any:
    """A struct of this type: each text in it, at any depth, is `text`; numbers are 1, and what may be None is not.
    `known` are fields with other values."""
    kinds = _types(kind)
    names = (one for one in kind.__struct_fields__ if one not in known)
    return kind(**{name: _value(kinds[name], text) for name in names}, **known)


def _value(kind: Any, text: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if kind in (Any, object, str):
        return text
    if kind in (int, float, bool):
        return kind(1)
    if kind is bytes:
        return text.encode("utf-8", "surrogatepass")
    if origin is Literal:
        return inner[0]
    if origin is Annotated:
        return _value(inner[0], text)
    if origin in (Union, types.UnionType):
        return _value(next(one for one in inner if one is not type(None)), text)
    if origin is tuple and inner[-1:] != (...,):
        return tuple(_value(one, text) for one in inner)
    if origin in (tuple, Sequence, list):
        return (_value(inner[0], text),)
    if origin in (dict, Mapping):
        return {_value(inner[0], text): _value(inner[1], text)}
    if isinstance(origin, type) and issubclass(
        origin, Struct
    ):  # all fields have the type in brackets
        return origin(**{name: _value(inner[0], text) for name in origin.__struct_fields__})
    if isinstance(kind, type) and issubclass(kind, Struct):
        return filled(kind, text)
    return None


def _types(kind: type[Any]) -> dict[str, Any]:
    """Those of the fields."""
    modules = [vars(sys.modules[one.__module__]) for one in kind.__mro__]
    others = [
        vars(one) for name, one in [*sys.modules.items()] if name.startswith("discover_orch.")
    ]
    names = ChainMap(*modules, vars(builtins), *others)  # some are imported for type checkers only
    return typing.get_type_hints(kind, localns=names, include_extras=True)
