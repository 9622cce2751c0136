"""What `run()` is called with, and what it gives back.

Arguments are typed values. `run = partial(...)`, an object that can be called and a method have a signature that the
source does not show. It is read from the real object, after its module was loaded.

A tool gives back metrics, which `run()` returns, and the files that ORCH declares as outputs.
"""

from __future__ import annotations

import functools
import importlib
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from discover_orch.model.conventions import GLOB_CHARACTERS
from discover_orch.model.parameter import (
    SCALARS,
    ConvertError,
    EnumMember,
    Param,
    Scalar,
    ScalarKind,
    convert_one,
)
from discover_orch.model.secret_masking import is_secret_name
from discover_orch.worker.loader import ImportProblem
from discover_orch.worker.protocol import WireArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    import inspect

#: The kind of a plain value by the last name of its type.
_KINDS: Mapping[str, ScalarKind] = {name.rpartition(".")[2]: SCALARS[name] for name in SCALARS}
LONGEST_TEXT = 1000  # characters
LONGEST_NUMBER = 1 << 1000  # Python refuses to write much longer ones as text


class SignatureProblem(ImportProblem):
    """A tool cannot be called, or a call executes nothing."""


def convert_arguments(arguments: Mapping[str, WireArgument]) -> dict[str, object]:
    """The arguments of `run()` with their types. Imports the module of an Enum."""
    converted: dict[str, object] = {}
    for name, argument in arguments.items():
        param = Param(name=name, type=argument.type)
        one = param.convert(argument.texts)
        if isinstance(one, list):
            converted[name] = [_find_member(m) if isinstance(m, EnumMember) else m for m in one]
        else:
            converted[name] = _find_member(one) if isinstance(one, EnumMember) else one
    return converted


def find_positional_only(run: Any) -> tuple[str, ...]:
    """The names of a function's arguments that can only be given by position."""
    code = getattr(run, "__code__", None)
    return () if code is None else code.co_varnames[: code.co_posonlyargcount]


class RealSignature:
    """The parameters of a callable. One without a signature, such as some built-in functions, has none."""

    def __init__(self, run: Callable[..., Any]) -> None:
        import inspect  # takes several milliseconds, and most tools do not need it

        try:
            found = [*inspect.signature(run).parameters.values()]
            self._takes_extra = any(one.kind is one.VAR_KEYWORD for one in found)
        except (TypeError, ValueError):
            found, self._takes_extra = [], True
        self._named: dict[str, inspect.Parameter] = {
            one.name: one for one in found if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        }
        self._bound = _bound_by_partial(run)

    def select_resources(self, offered: Collection[str]) -> tuple[str, ...]:
        """Those that it asks for by name. One that a `partial` has bound is the user's own."""
        return tuple(name for name in self._named if name in offered and name not in self._bound)

    @property
    def positional_only(self) -> tuple[str, ...]:
        found = self._named.items()
        return tuple(name for name, one in found if one.kind is one.POSITIONAL_ONLY)

    def convert(self, texts: Mapping[str, str], resources: Collection[str]) -> dict[str, object]:
        """The values of `-p` by its annotations and defaults; a text where these are no plain types. Raises
        SignatureProblem for what is missing, what it does not take, and what does not fit."""
        for name, one in self._named.items():
            if one.default is one.empty and name not in texts and name not in resources:
                raise SignatureProblem(f'run() requires "{name}", which is not given', _fix(name))
        for name in texts:
            if name not in self._named and not self._takes_extra:
                raise SignatureProblem(
                    f'run() has no parameter "{name}" (from -p)',
                    f"if it is for another tool, use -p TOOL.{name}=VALUE",
                )
        return {name: self._convert_one(name, text) for name, text in texts.items()}

    def _convert_one(self, name: str, text: str) -> object:
        one = self._named.get(name)
        if one is None:
            return text
        hint = type(one.default) if one.annotation is one.empty else one.annotation
        word = hint if isinstance(hint, str) else getattr(hint, "__name__", "")
        kind = _KINDS.get(word.rpartition(".")[2])
        if kind is None:
            return text
        try:
            return convert_one(Scalar(kind=kind), text)
        except ConvertError as error:
            what = "the value (hidden) does not fit" if is_secret_name(name) else str(error)
            raise SignatureProblem(f"invalid -p {name}: {what}", f"its type is {kind}") from None


def refuse_generator(returned: object) -> None:
    """Raises SignatureProblem where the call of `run` only made a generator, whose code has not been executed."""
    if isinstance(returned, GeneratorType | AsyncGeneratorType):
        raise SignatureProblem(
            "run() returned a generator, whose code was not executed",
            "do the work without yield, or in another function whose result run() consumes",
        )


def _find_member(member: EnumMember) -> object:
    found: Any = importlib.import_module(member.module)
    for part in member.enum.split("."):
        found = getattr(found, part)
    return found[member.name]


def _bound_by_partial(run: object) -> set[str]:
    bound: set[str] = set()
    while isinstance(run, functools.partial):
        bound |= run.keywords.keys()
        run = run.func
    return bound


def _fix(name: str) -> str:
    if name in ("self", "cls"):
        return "it is a method of a class: use one of an instance, as in run = Loader().load"
    return f"set it with -p {name}=VALUE, or give it a default"


def read_metrics(returned: object) -> Mapping[str, object]:
    """The scalars of the mapping that `run()` returned, as plain values that JSON can hold.

    Everything else is ignored, also values of the user's classes that raise when they are read.
    """
    metrics: dict[str, object] = {}
    try:
        if returned is None or not isinstance(returned, Mapping):
            return metrics
        for name, given in returned.items():
            if isinstance(name, str):
                is_scalar, scalar = _read_scalar(given)
                if is_scalar:
                    metrics[str.__str__(name)[:LONGEST_TEXT]] = scalar
    except Exception:  # a mapping of the user's own class
        return metrics
    return metrics


def note_ignored(returned: object, metrics: Mapping[str, object]) -> list[str]:
    """A sentence on what of the returned value is not in its `metrics`."""
    kept = "only the scalars of a mapping are kept"
    try:
        if returned is None:
            return []
        if not isinstance(returned, Mapping):
            kind = type.__getattribute__(type(returned), "__name__")
            return [f"run() returned a value of type {kind}, which is ignored: {kept}"]
        left = len(returned) - len(metrics)
    except Exception:  # a mapping of the user's own class
        return [f"run() returned a mapping that cannot be read: {kept}"]
    if left <= 0:
        return []
    word = (
        "value that is not a scalar and is" if left == 1 else "values that are not scalars and are"
    )
    return [f"run() returned {left} {word} ignored: {kept}"]


def _read_scalar(given: Any) -> tuple[bool, object]:
    """(is a scalar, its plain value)"""
    try:
        return _convert_scalar(given)
    except Exception:
        return False, None


def _convert_scalar(given: Any) -> tuple[bool, object]:
    if given is None or isinstance(given, bool):
        return True, given
    if isinstance(given, str):
        return True, str.__str__(given)[:LONGEST_TEXT]
    if isinstance(given, int):
        return abs(given) < LONGEST_NUMBER, int(given)
    if isinstance(given, float):
        number = float(given)
        return True, number if math.isfinite(number) else str(number)  # else JSON could not hold it
    item = getattr(given, "item", None)  # a scalar of numpy, for example
    if callable(item):
        inner = item()
        if inner is None or isinstance(inner, (bool, int, float, str)):
            return _convert_scalar(inner)
    return False, None


class MissingOutput(Exception):
    """A tool returned without having written a declared output."""

    hint = 'write the file, or remove it from "outputs" in ORCH'


def check_outputs(root: str, outputs: Iterable[str]) -> None:
    """Raises MissingOutput. Paths and globs are relative to `root`; a glob needs one match."""
    missing = [one for one in outputs if not _exists(root, one)]
    if missing:
        word = "output" if len(missing) == 1 else "outputs"
        raise MissingOutput(f"declared {word} not written: {', '.join(missing)}")


def _exists(root: str, path: str) -> bool:
    if os.path.exists(os.path.join(root, path)):  # a file whose name has `[` in it, for example
        return True
    if not GLOB_CHARACTERS & set(path):
        return False
    import glob  # few tools declare a glob

    return next(glob.iglob(path, root_dir=root, recursive=True), None) is not None
