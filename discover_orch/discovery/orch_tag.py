"""The `ORCH = {...}` tag of a module, checked key by key.

In: the literal dict as `source` read it. Out: a `OrchSettings` value and the problems, each with the line of
its key and, for an unknown one, the nearest that exists. Pure.
"""

from __future__ import annotations

import math
import re

from msgspec import Struct

from discover_orch.model.errors import Location, Problem, nearest
from discover_orch.source.facts import OrchTag

KEYS = (
    "name",
    "inputs",
    "outputs",
    "retries",
    "retry_delay",
    "timeout",
    "tokens",
    "cancel",
    "always",
)
#: Read and checked, so that a module written for them is accepted, but nothing acts on them yet.
NOT_BUILT_YET = ("retries", "retry_delay", "timeout", "tokens")
NOT_BUILT_YET_CODE = "not-built-yet"


class OrchSettings(Struct, frozen=True, kw_only=True):
    """What `ORCH` says, its defaults filled in; `name` is None where the module path gives it."""

    name: str | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    is_cancellable: bool = True
    is_always_stale: bool = False


def read_settings(tag: OrchTag | None, path: str) -> tuple[OrchSettings, tuple[Problem, ...]]:
    """The settings of one module; a value that is wrong is left at its default and told."""
    if tag is None:
        return OrchSettings(), ()
    if tag.problem:
        place = Location(path=path, line=tag.line)
        hint = 'for example ORCH = {"outputs": "output/report.html"}'
        return OrchSettings(), (
            Problem(code="orch-tag", message=tag.problem, hint=hint, location=place),
        )
    problems: list[Problem] = []
    good: dict[str, object] = {}
    for key, given in tag.values.items():
        place = Location(path=path, line=tag.lines.get(key, tag.line))
        if key not in KEYS:
            close = nearest(key, KEYS)
            problems.append(
                Problem(
                    code="orch-key",
                    message=f'ORCH has no key "{key}"',
                    hint=f'did you mean "{close}"?' if close else f"it has {', '.join(KEYS)}",
                    location=place,
                )
            )
            continue
        wrong = _fault(key, given)
        if wrong:
            problems.append(
                Problem(
                    code="orch-value",
                    message=f'"{key}" in ORCH {wrong}',
                    hint=_EXAMPLES[key],
                    location=place,
                )
            )
            continue
        good[key] = given
        if key in NOT_BUILT_YET:
            problems.append(
                Problem(
                    code=NOT_BUILT_YET_CODE,
                    message=f'"{key}" in ORCH is read, but this version does not act on it',
                    location=place,
                    severity="warning",
                )
            )
    name = good.get("name")
    return OrchSettings(
        name=name if isinstance(name, str) else None,
        inputs=_paths(good.get("inputs")),
        outputs=_paths(good.get("outputs")),
        is_cancellable=good.get("cancel") is not False,
        is_always_stale=good.get("always") is True,
    ), tuple(problems)


_EXAMPLES = {
    "name": 'for example "name": "fetch-raw"',
    "inputs": 'for example "inputs": ["data/*.csv"], relative to the root',
    "outputs": 'for example "outputs": "output/report.html", relative to the root',
    "retries": 'for example "retries": 3',
    "retry_delay": 'for example "retry_delay": 0.5, in seconds',
    "timeout": 'for example "timeout": 60, in seconds',
    "tokens": 'for example "tokens": {"gpu": 1}',
    "cancel": '"cancel" is True or False',
    "always": '"always" is True or False',
}
_NAME = re.compile(r"[^\W\d][\w.-]*")


def _fault(key: str, value: object) -> str:
    """What is wrong with a value, as the end of a sentence; empty where nothing is."""
    if key == "name":
        if not isinstance(value, str):
            return f"is {_kind(value)}, not a string"
        if not _NAME.fullmatch(value):
            return f"is {value!r}; a name has letters, digits, `_`, `-` and `.`"
        return ""
    if key in ("inputs", "outputs"):
        items = value if isinstance(value, list) else [value]
        if not all(isinstance(item, str) for item in items):
            return f"is {_kind(value)}, not a path or a list of paths"
        if not all(items):
            return "holds an empty path"
        return ""
    if key in ("cancel", "always"):
        return "" if isinstance(value, bool) else f"is {_kind(value)}, not True or False"
    if key == "tokens":
        if not isinstance(value, dict):
            return f"is {_kind(value)}, not a dict of numbers"
        for token, count in value.items():
            if not token or not _is_whole(count) or count < 1:
                return f'asks for {count!r} of "{token}"; it must be a whole number from 1'
        return ""
    if key == "retries":
        if not _is_whole(value):
            return f"is {_kind(value)}, not a whole number"
    elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return f"is {_kind(value)}, not a number of seconds"
    if isinstance(value, int | float) and (value < 0 or (key == "timeout" and value == 0)):
        return f"is {value}; it must be {'more than 0' if key == 'timeout' else '0 or more'}"
    return ""


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _kind(value: object) -> str:
    names = {str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    names |= {list: "a list", dict: "a dict", type(None): "None"}
    return names.get(type(value), "a " + type(value).__name__)


def _paths(value: object) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [] if value is None else [value]
    return tuple(item.removeprefix("./") for item in items if isinstance(item, str))
