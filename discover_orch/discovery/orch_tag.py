"""Checks the `ORCH = {...}` tag of a module, key by key.

The dict as `source` read it → `OrchSettings`, and problems with the line of their key.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import partial

from msgspec import Struct, field

from discover_orch.model.errors import Location, Problem, nearest
from discover_orch.source.facts import OrchTag

#: The units of an age, in seconds.
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


class OrchSettings(Struct, frozen=True, kw_only=True):
    """What `ORCH` says, with defaults; `name` is None where the module gives the name.

    `has_inputs` and `has_outputs`: the key is given, though its list may be empty. Times are in seconds.
    """

    name: str | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    has_inputs: bool = False
    has_outputs: bool = False
    is_cancellable: bool = True
    is_always_stale: bool = False
    is_repeatable: bool = False
    max_age: float | None = None
    retries: int = 0
    retry_delay: float = 1.0
    timeout: float | None = None
    tokens: Mapping[str, int] = field(default_factory=dict)
    commits_by_itself: bool = False


class Rule(Struct, frozen=True, kw_only=True):
    """A key of `ORCH`; `check` gives what is wrong with a value, as the end of a sentence, or "". `meaning` is for
    `orch help tags` and the reference."""

    check: Callable[[object], str]
    example: str
    meaning: str


def read_settings(tag: OrchTag | None, path: str) -> tuple[OrchSettings, tuple[Problem, ...]]:
    """The settings of one module and its problems; a key with a wrong value keeps its default."""
    if tag is None:
        return OrchSettings(), ()
    problems: list[Problem] = []

    def add(code: str, message: str, hint: str, line: int) -> None:
        place = Location(path=path, line=line)
        problems.append(Problem(code=code, message=message, hint=hint, location=place))

    if tag.problem:
        hint = 'assign a dict literal at the top level, such as ORCH = {"outputs": "report.html"}'
        add("orch-tag", tag.problem, hint, tag.line)
        return OrchSettings(), tuple(problems)
    good: dict[str, object] = {}
    for key, value in tag.values.items():
        line = tag.lines.get(key, tag.line)
        rule = RULES.get(key)
        if rule is None:
            close = nearest(key, RULES)
            hint = f'did you mean "{close}"?' if close else f"the keys are {', '.join(RULES)}"
            add("orch-key", f'unknown key "{key}" in ORCH', hint, line)
        elif wrong := rule.check(value):
            add("orch-value", f'"{key}" in ORCH {wrong}', f"for example {rule.example}", line)
        else:
            good[key] = value
    name, timeout = good.get("name"), good.get("timeout")
    tokens = good.get("tokens")
    retries, delay = good.get("retries"), good.get("retry_delay")
    return OrchSettings(
        name=name if isinstance(name, str) else None,
        inputs=_paths(good.get("inputs")),
        outputs=_paths(good.get("outputs")),
        has_inputs="inputs" in good,
        has_outputs="outputs" in good,
        is_cancellable=good.get("cancel") is not False,
        is_always_stale=good.get("always") is True,
        is_repeatable=good.get("repeatable") is True,
        max_age=_age_in_seconds(good["max_age"]) if "max_age" in good else None,
        retries=retries if isinstance(retries, int) else 0,
        retry_delay=float(delay) if isinstance(delay, int | float) else 1.0,
        timeout=float(timeout) if isinstance(timeout, int | float) else None,
        tokens=tokens if isinstance(tokens, dict) else {},
        commits_by_itself="transaction" in good,
    ), tuple(problems)


# The rules.


def _check_name(value: object) -> str:
    if not isinstance(value, str):
        return f"must be a string, not {_kind(value)}"
    if not re.fullmatch(r"[^\W\d][\w.-]*", value):
        return f"must consist of letters, digits, `_`, `-` and `.`, and is {value!r}"
    return ""


def _check_paths(value: object) -> str:
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str) for item in items):
        return f"must be a path or a list of paths, not {_kind(value)}"
    return "" if all(items) else "contains an empty path"


def _check_flag(value: object) -> str:
    return "" if isinstance(value, bool) else f"must be True or False, not {_kind(value)}"


def _check_transaction(value: object) -> str:
    return "" if value == "none" else f'can only be "none", not {value!r}'


def _check_tokens(value: object) -> str:
    if not isinstance(value, dict):
        return f"must be a dict of whole numbers, not {_kind(value)}"
    for token, count in value.items():
        if not token or not _is_whole(count) or count < 1:
            return f'must have a whole number, 1 or more, for "{token}", not {count!r}'
    return ""


def _check_retries(value: object) -> str:
    if not _is_whole(value):
        return f"must be a whole number, not {_kind(value)}"
    return _check_seconds(value)


def _check_seconds(value: object, *, allows_zero: bool = True) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return f"must be a number of seconds, not {_kind(value)}"
    if value < 0 or (value == 0 and not allows_zero):
        return f"must be {'0 or more' if allows_zero else 'more than 0'}, not {value}"
    return ""


def _check_age(value: object) -> str:
    seconds = _age_in_seconds(value)
    if isinstance(value, bool) or seconds is None or not math.isfinite(seconds):
        shown = repr(value) if isinstance(value, str) else _kind(value)
        return f"must be an age or a number of seconds, not {shown}"
    return "" if seconds > 0 else f"must be more than 0, not {value}"


RULES = {
    "name": Rule(
        check=_check_name,
        example='"name": "fetch-raw"',
        meaning="the name on the command line, instead of the last part of the module path",
    ),
    "inputs": Rule(
        check=_check_paths,
        example='"inputs": ["data/*.csv"], relative to the root',
        meaning="a path or glob, or a list of them, relative to the root, in addition to what `orch` observes. An "
        "empty list says that there are none that `orch` cannot see",
    ),
    "outputs": Rule(
        check=_check_paths,
        example='"outputs": "output/report.html", relative to the root',
        meaning="a path or glob that the tool writes, or a list of them. A missing output fails the tool before its "
        "commit. An empty list says that there are none",
    ),
    "retries": Rule(
        check=_check_retries,
        example='"retries": 3',
        meaning="attempts after a failure; none after an ImportError or SyntaxError",
    ),
    "retry_delay": Rule(
        check=_check_seconds,
        example='"retry_delay": 0.5, in seconds',
        meaning="seconds before the next attempt (default 1). The delay doubles with each attempt, up to 5 minutes, "
        "and varies by a quarter",
    ),
    "timeout": Rule(
        check=partial(_check_seconds, allows_zero=False),
        example='"timeout": 60, in seconds',
        meaning="seconds; then the tool is stopped, its query cancelled, and it has failed",
    ),
    "tokens": Rule(
        check=_check_tokens,
        example='"tokens": {"gpu": 1}',
        meaning='`{"gpu": 1}`: the tokens that the tool holds while it runs, of those that the setting `tokens` has',
    ),
    "cancel": Rule(
        check=_check_flag,
        example='"cancel": False',
        meaning="`False`: a change during `orch watch` waits for the tool instead of cancelling it",
    ),
    "always": Rule(
        check=_check_flag,
        example='"always": True',
        meaning="`True`: the tool is never fresh, for example because it reads the network or the clock",
    ),
    "max_age": Rule(
        check=_check_age,
        example='"max_age": "1d", "6h", "30m", "45s" or seconds',
        meaning='`"1d"`, `"6h"`, `"30m"`, `"45s"` or a number of seconds: the tool is stale when its last success is '
        "older",
    ),
    "repeatable": Rule(
        check=_check_flag,
        example='"repeatable": True',
        meaning="`True`: running the tool again on its own result changes nothing",
    ),
    "transaction": Rule(
        check=_check_transaction,
        example='"transaction": "none"',
        meaning='`"none"`: the tool commits by itself; `orch` neither commits nor rolls back',
    ),
}


def _age_in_seconds(value: object) -> float | None:
    """The seconds of a number or of a text like `1d`, `6h`, `30m`, `45s`; None for anything else."""
    if isinstance(value, int | float):
        return float(value)
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([dhms])", str(value), re.ASCII)
    return float(found[1]) * _SECONDS[found[2]] if found else None


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _kind(value: object) -> str:
    names = {str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    names |= {list: "a list", dict: "a dict", type(None): "None"}
    return names.get(type(value), "a " + type(value).__name__)


def _paths(value: object) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [] if value is None else [value]
    return tuple(item.removeprefix("./") for item in items if isinstance(item, str))
