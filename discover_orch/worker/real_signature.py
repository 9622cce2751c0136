"""What a `run` asks for whose signature cannot be read from the source: `partial(...)`, an object that can be called,
a method. Told from the real object, after its module was loaded.

Imported only where it is needed, since `inspect` takes several milliseconds.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from discover_orch.model.parameter import (
    ConvertError,
    Scalar,
    ScalarKind,
    convert_one,
    is_secret_name,
)
from discover_orch.worker.loader import ImportProblem

_KINDS: Mapping[str, ScalarKind] = {
    "int": "int",
    "float": "float",
    "bool": "bool",
    "Path": "path",
    "date": "date",
    "datetime": "datetime",
    "Decimal": "decimal",
    "UUID": "uuid",
}


class SignatureProblem(ImportProblem):
    """A tool cannot be called, or a call executes nothing."""


class RealSignature:
    """The parameters of a callable. One without a signature, such as some built-in functions, has none."""

    def __init__(self, run: Callable[..., Any]) -> None:
        try:
            found = [*inspect.signature(run).parameters.values()]
            self._takes_extra = any(one.kind is one.VAR_KEYWORD for one in found)
        except (TypeError, ValueError):
            found, self._takes_extra = [], True
        self._named = {
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
        """The values of `-p` by its annotations; a text where there is no plain one. Raises SignatureProblem for what
        is missing, what it does not take, and what does not fit."""
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
        annotation = self._named[name].annotation if name in self._named else ""
        word = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
        kind = _KINDS.get(word.rpartition(".")[2])
        if kind is None:
            return text
        try:
            return convert_one(Scalar(kind=kind), text)
        except ConvertError as error:
            what = "the value (hidden) does not fit" if is_secret_name(name) else str(error)
            raise SignatureProblem(
                f"invalid -p {name}: {what}", f"its type in run() is {kind}"
            ) from None


def refuse_generator(run: Callable[..., Any], returned: object) -> None:
    """Raises SignatureProblem where a call of `run` only made a generator, whose code has not been executed."""
    match returned:
        case GeneratorType():
            code = returned.gi_code
        case AsyncGeneratorType():
            code = returned.ag_code
        case _:
            return
    if code is _code_of(run):
        raise SignatureProblem(
            "run() contains yield, so calling it executed nothing",
            "do the work without yield, or in another function whose result run() uses up",
        )


def _bound_by_partial(run: object) -> set[str]:
    bound: set[str] = set()
    while isinstance(run, functools.partial):
        bound |= run.keywords.keys()
        run = run.func
    return bound


def _code_of(run: Any) -> object:
    """The code of the function below decorators and `partial`."""
    while True:
        if isinstance(run, functools.partial):
            run = run.func
        elif hasattr(run, "__wrapped__"):
            run = run.__wrapped__
        elif hasattr(run, "__code__"):
            return run.__code__
        else:
            return getattr(type(run).__call__, "__code__", None)


def _fix(name: str) -> str:
    if name in ("self", "cls"):
        return "it is a method of a class: use one of an instance, as in run = Loader().load"
    return f"set it with -p {name}=VALUE, or give it a default"
