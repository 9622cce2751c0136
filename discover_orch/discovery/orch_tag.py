"""Checks the `ORCH = {...}` tag of a module, key by key.

The dict as `source` read it → `ToolSettings`, and problems with the line of their key.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec import Struct

from discover_orch.model.conventions import SQL_SUFFIX
from discover_orch.model.errors import Location, Problem, did_you_mean
from discover_orch.model.tool import ToolSettings
from discover_orch.source.facts import OrchTag

#: The units of an age, in seconds.
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


class Rule(Struct, frozen=True, kw_only=True):
    """A key of `ORCH`; `read` gives the value of the setting, or raises ValueError with what is wrong, as the end of a
    sentence. The setting is called `sets`, or like the key. `meaning` is for the reference."""

    read: Callable[[object], object]
    example: str
    meaning: str
    sets: str = ""


def read_settings(
    tag: OrchTag | None, path: str
) -> tuple[str | None, ToolSettings, tuple[Problem, ...]]:
    """The name that one module gives itself, if any, its settings, and its problems. A key with a wrong value keeps
    its default."""
    if tag is None:
        return None, ToolSettings(), ()
    problems: list[Problem] = []

    def add(code: str, message: str, hint: str, line: int) -> None:
        place = Location(path=path, line=line)
        problems.append(Problem(code=code, message=message, hint=hint).at(place))

    if tag.problem:
        hint = 'assign a dict literal at the top level, such as ORCH = {"outputs": "report.html"}'
        if path.endswith(SQL_SUFFIX):
            hint = 'write for example -- ORCH: {"outputs": "report.csv"}'
        add("orch-tag", tag.problem, hint, tag.line)
        return None, ToolSettings(), tuple(problems)
    good: dict[str, Any] = {}
    for key, value in tag.values.items():
        line = tag.lines.get(key, tag.line)
        rule = RULES.get(key)
        if rule is None:
            hint = did_you_mean(key, RULES, f"the keys are {', '.join(RULES)}")
            add("orch-key", f'unknown key "{key}" in ORCH', hint, line)
            continue
        try:
            good[rule.sets or key] = rule.read(value)
        except ValueError as wrong:
            add("orch-value", f'"{key}" in ORCH {wrong}', f"for example {rule.example}", line)
    name = good.pop("name", None)
    good |= {f"has_{key}": key in good for key in ("inputs", "outputs")}
    return name, ToolSettings(**good), tuple(problems)


# The rules.


def _read_name(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a string, not {_kind(value)}")
    if not re.fullmatch(r"[^\W\d][\w.-]*", value):
        raise ValueError(f"must consist of letters, digits, `_`, `-` and `.`, and is {value!r}")
    return value


def _read_paths(value: object) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    paths = [item for item in items if isinstance(item, str)]
    if len(paths) < len(items):
        raise ValueError(f"must be a path or a list of paths, not {_kind(value)}")
    if not all(paths):
        raise ValueError("contains an empty path")
    return tuple(path.removeprefix("./") for path in paths)


def _read_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be True or False, not {_kind(value)}")
    return value


def _read_transaction(value: object) -> bool:
    if value != "none":
        raise ValueError(f'can only be "none", not {value!r}')
    return True


def _read_tokens(value: object) -> dict[str, int]:
    if not isinstance(value, dict):
        raise ValueError(f"must be a dict of whole numbers, not {_kind(value)}")
    for token, count in value.items():
        if not token or not _is_whole(count) or count < 1:
            raise ValueError(f'must have a whole number, 1 or more, for "{token}", not {count!r}')
    return value


def _read_retries(value: object) -> int:
    if not _is_whole(value):
        raise ValueError(f"must be a whole number, not {_kind(value)}")
    return int(_read_seconds(value))


def _read_seconds(value: object, *, allows_zero: bool = True) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        raise ValueError(f"must be a number of seconds, not {_kind(value)}")
    if value < 0 or (value == 0 and not allows_zero):
        raise ValueError(f"must be {'0 or more' if allows_zero else 'more than 0'}, not {value}")
    return float(value)


def _read_age(value: object) -> float:
    """The seconds of a number or of a text like `1d`, `6h`, `30m`, `45s`."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([dhms])", str(value), re.ASCII)
    seconds = float(found[1]) * _SECONDS[found[2]] if found else value
    if isinstance(value, bool) or not isinstance(seconds, int | float) or not _is_finite(seconds):
        shown = repr(value) if isinstance(value, str) else _kind(value)
        raise ValueError(f"must be an age or a number of seconds, not {shown}")
    if seconds <= 0:
        raise ValueError(f"must be more than 0, not {value}")
    return float(seconds)


RULES = {
    "name": Rule(
        read=_read_name,
        example='"name": "fetch-raw"',
        meaning="the name on the command line, instead of the last part of the module path",
    ),
    "inputs": Rule(
        read=_read_paths,
        example='"inputs": ["data/*.csv"], relative to the root',
        meaning="a path or glob, or a list of them, relative to the root, in addition to what `orch` observes. An "
        "empty list: the tool reads nothing else",
    ),
    "outputs": Rule(
        read=_read_paths,
        example='"outputs": "output/report.html", relative to the root',
        meaning="a path or glob that the tool writes, or a list of them. A missing output fails the tool before its "
        "commit. An empty list: it writes nothing else",
    ),
    "replaces": Rule(
        read=_read_paths,
        example='"replaces": "clean/*.csv", relative to the root',
        meaning="a path or glob, or a list of them: the tool makes all of these files anew. After its success, those "
        "are deleted that it made earlier and not this time, as far as `orch clean` would delete them",
    ),
    "retries": Rule(
        read=_read_retries,
        example='"retries": 3',
        meaning="attempts after a failure; none after an ImportError or SyntaxError",
    ),
    "retry_delay": Rule(
        read=_read_seconds,
        example='"retry_delay": 0.5, in seconds',
        meaning="seconds before the next attempt (default 1). The delay doubles with each attempt, up to 5 minutes, "
        "and varies by a quarter",
    ),
    "timeout": Rule(
        read=partial(_read_seconds, allows_zero=False),
        example='"timeout": 60, in seconds',
        meaning="seconds; then the tool is stopped, its query cancelled, and it has failed",
    ),
    "tokens": Rule(
        read=_read_tokens,
        example='"tokens": {"gpu": 1}',
        meaning='`{"gpu": 1}`: the tokens that the tool holds while it runs, of those that the setting `tokens` has',
    ),
    "cancel": Rule(
        read=_read_flag,
        example='"cancel": False',
        meaning="`False`: a change during `orch watch` waits for the tool instead of cancelling it",
        sets="is_cancellable",
    ),
    "always": Rule(
        read=_read_flag,
        example='"always": True',
        meaning="`True`: the tool is never fresh, for example because it reads the network or the clock",
        sets="is_always_stale",
    ),
    "max_age": Rule(
        read=_read_age,
        example='"max_age": "1d", "6h", "30m", "45s" or seconds',
        meaning='`"1d"`, `"6h"`, `"30m"`, `"45s"` or a number of seconds: the tool is stale when its last success is '
        "older",
    ),
    "repeatable": Rule(
        read=_read_flag,
        example='"repeatable": True',
        meaning="`True`: running the tool again on its own result changes nothing",
        sets="is_repeatable",
    ),
    "transaction": Rule(
        read=_read_transaction,
        example='"transaction": "none"',
        meaning='`"none"`: the tool commits by itself; `orch` neither commits nor rolls back',
        sets="commits_by_itself",
    ),
    "trace": Rule(
        read=_read_flag,
        example='"trace": False',
        meaning="`False`: `orch` does not ask the kernel which files the tool uses. For programs that need rights of "
        "their own, as `sudo` does",
        sets="is_traced",
    ),
}


def _is_finite(number: float) -> bool:
    """Neither infinite nor NaN, nor a whole number that no float can hold."""
    return abs(number) <= sys.float_info.max


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _kind(value: object) -> str:
    names = {str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    names |= {list: "a list", dict: "a dict", type(None): "None"}
    return names.get(type(value), "a " + type(value).__name__)
