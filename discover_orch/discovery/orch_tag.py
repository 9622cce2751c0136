"""Checks the `ORCH = {...}` tag of a module, key by key.

The dict as `source` read it → `ToolSettings`, and problems with the line of their key.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from discover_orch.model.conventions import SQL_SUFFIX
from discover_orch.model.errors import Location, Problem, did_you_mean
from discover_orch.model.items import EachError, read_each
from discover_orch.model.tool import ToolSettings
from discover_orch.source.facts import OrchTag

#: The units of an age, in seconds.
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


class Kind(Struct, frozen=True):
    """What a value may be: its type for msgspec, the same in words, as the end of a sentence, and what the setting
    becomes of it."""

    type: Any
    words: str
    build: Callable[[Any], object] = lambda value: value


class Rule(Struct, frozen=True, kw_only=True):
    """A key of `ORCH`. The setting is called `sets`, or like the key. `meaning` is for the reference."""

    kind: Kind
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
            if tag.problem.startswith("EACH"):
                hint = (
                    'write for example -- EACH: raw/{day}.csv or -- EACH: {"region": ["eu", "us"]}'
                )
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
            good[rule.sets or key] = rule.kind.build(msgspec.convert(value, rule.kind.type))
        except EachError as error:
            add("each", str(error), error.hint, line)
        except (msgspec.ValidationError, ValueError):
            message = f'"{key}" in ORCH must be {rule.kind.words}'
            add("orch-value", message, f"for example {rule.example}", line)
    name = good.pop("name", None)
    for key in ("in_order", "column") if "each" not in tag.values else ():
        if key in tag.values:
            hint = 'add "each", for example "each": "raw/{day}.csv", or remove it'
            add("each", f'"{key}" in ORCH is for tools with "each"', hint, tag.lines[key])
    good |= {f"has_{key}": key in good for key in ("inputs", "outputs")}
    return name, ToolSettings(**good), tuple(problems)


# The kinds of values.

_Number = Annotated[float, Meta(ge=0, le=sys.float_info.max)]  # so neither infinite nor NaN
_Positive = Annotated[float, Meta(gt=0, le=sys.float_info.max)]
_Path = Annotated[str, Meta(min_length=1)]
_LARGEST = 2**62  # JSON cannot hold any whole number

_NAME = Kind(
    Annotated[str, Meta(pattern=r"\A[^\W\d][\w.-]*\Z")],
    "a string of letters, digits, `_`, `-` and `.` that begins with a letter",
)
_PATHS = Kind(
    _Path | tuple[_Path, ...],
    "a path or a list of paths, none of them empty",
    lambda value: tuple(
        path.removeprefix("./") for path in ([value] if isinstance(value, str) else value)
    ),
)
_FLAG = Kind(bool, "True or False")
_ATTEMPTS = Kind(Annotated[int, Meta(ge=0, le=_LARGEST)], "a whole number, 0 or more")
_DELAY = Kind(_Number, "a number of seconds, 0 or more")
_LIMIT = Kind(_Positive, "a number of seconds, more than 0")
_TOKENS = Kind(
    dict[Annotated[str, Meta(min_length=1)], Annotated[int, Meta(ge=1, le=_LARGEST)]],
    "a dict of names, each with a whole number, 1 or more",
)
_AGE = Kind(
    Annotated[str, Meta(pattern=r"\A(?=.*[1-9])[0-9]{1,9}(\.[0-9]{1,9})?[dhms]\Z")] | _Positive,
    "an age or a number of seconds, more than 0",
    lambda value: float(value[:-1]) * _SECONDS[value[-1]] if isinstance(value, str) else value,
)
_OWN = Kind(Literal["own"], '"own"', lambda _: True)
_EACH = Kind(object, "", read_each)
_COLUMN = Kind(Annotated[str, Meta(min_length=1)], "the name of a column")
_NO_TRANSACTION = Kind(Literal["none"], '"none"', lambda _: True)


RULES = {
    "name": Rule(
        kind=_NAME,
        example='"name": "fetch-raw"',
        meaning="the name on the command line, instead of the last part of the module path",
    ),
    "inputs": Rule(
        kind=_PATHS,
        example='"inputs": ["data/*.csv"], relative to the root',
        meaning="a path or glob, or a list of them, relative to the root, in addition to what `orch` observes. An "
        "empty list: the tool reads nothing else",
    ),
    "outputs": Rule(
        kind=_PATHS,
        example='"outputs": "output/report.html", relative to the root',
        meaning="a path or glob that the tool writes, or a list of them. A missing output fails the tool before its "
        "commit. An empty list: it writes nothing else",
    ),
    "replaces": Rule(
        kind=_PATHS,
        example='"replaces": "clean/*.csv", relative to the root',
        meaning="a path or glob, or a list of them: the tool makes all of these files anew. After its success, those "
        "are deleted that it made earlier and not this time, as far as `orch clean` would delete them",
    ),
    "each": Rule(
        kind=_EACH,
        example='"each": "raw/{day}.csv"',
        meaning='`"raw/{day}.csv"`, `{"file": "raw/*.csv"}`, `{"day": "2026-01-01.."}`, `{"region": ["eu", "us"]}` or '
        "the name of another tool: the tool runs once for each of these items ([items](items.md))",
    ),
    "in_order": Rule(
        kind=_FLAG,
        example='"in_order": True',
        meaning="`True`: the items run one after another, and each waits for the one before",
        sets="is_in_order",
    ),
    "column": Rule(
        kind=_COLUMN,
        example='"column": "day"',
        meaning='`"day"`: in tables that have this column, an item reads and writes only the rows with its value '
        "([items](items.md#rows-of-an-item))",
    ),
    "retries": Rule(
        kind=_ATTEMPTS,
        example='"retries": 3',
        meaning="attempts after a failure; none after an ImportError or SyntaxError",
    ),
    "retry_delay": Rule(
        kind=_DELAY,
        example='"retry_delay": 0.5, in seconds',
        meaning="seconds before the next attempt (default 1). The delay doubles with each attempt, up to 5 minutes, "
        "and varies by a quarter",
    ),
    "timeout": Rule(
        kind=_LIMIT,
        example='"timeout": 60, in seconds',
        meaning="seconds; then the tool is stopped, its query cancelled, and it has failed",
    ),
    "tokens": Rule(
        kind=_TOKENS,
        example='"tokens": {"gpu": 1}',
        meaning='`{"gpu": 1}`: the tokens that the tool holds while it runs, of those that the setting `tokens` has',
    ),
    "cancel": Rule(
        kind=_FLAG,
        example='"cancel": False',
        meaning="`False`: a change during `orch watch` waits for the tool instead of cancelling it",
        sets="is_cancellable",
    ),
    "always": Rule(
        kind=_FLAG,
        example='"always": True',
        meaning="`True`: the tool is never fresh, for example because it reads the network or the clock",
        sets="is_always_stale",
    ),
    "max_age": Rule(
        kind=_AGE,
        example='"max_age": "1d", "6h", "30m", "45s" or seconds',
        meaning='`"1d"`, `"6h"`, `"30m"`, `"45s"` or a number of seconds: the tool is stale when its last success is '
        "older",
    ),
    "repeatable": Rule(
        kind=_FLAG,
        example='"repeatable": True',
        meaning="`True`: running the tool again on its own result changes nothing",
        sets="is_repeatable",
    ),
    "transaction": Rule(
        kind=_NO_TRANSACTION,
        example='"transaction": "none"',
        meaning='`"none"`: the tool commits by itself; `orch` neither commits nor rolls back',
        sets="commits_by_itself",
    ),
    "trace": Rule(
        kind=_FLAG,
        example='"trace": False',
        meaning="`False`: `orch` does not ask the kernel which files the tool uses. For programs that need rights of "
        "their own, as `sudo` does",
        sets="is_traced",
    ),
    "worker": Rule(
        kind=_OWN,
        example='"worker": "own"',
        meaning='`"own"`: each run of the tool has a process of its own, with its own `conn` and resources. For code '
        "that changes its process in ways that cannot be undone",
        sets="has_own_worker",
    ),
}
