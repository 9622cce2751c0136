"""Items: the days, files or values for which a tool with `"each"` runs once each.

What `"each"` may say, the periods of a range, and the key of a step: the module of a tool, and behind a space the text
of its item. A module has no space in its name, so either is found again. Pure.
"""

from __future__ import annotations

import fnmatch
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct, field

#: The forms of a period, the longest first, each with its name.
_FORMS = (
    ("hour", re.compile(r"\d{4}-\d\d-\d\dT\d\d")),
    ("day", re.compile(r"\d{4}-\d\d-\d\d")),
    ("week", re.compile(r"\d{4}-W\d\d")),
    ("month", re.compile(r"\d{4}-\d\d")),
)
_NAME_IN_BRACES = re.compile(r"\{(\w+)\}")
#: A text that stands in a key as it is.
_PLAIN = re.compile(r"[^\s\"'\\\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
TODAY = "today"
#: The most items of a range or a grid: more are a mistake.
MOST_ITEMS = 1_000_000


class EachError(ValueError):
    """`"each"` cannot be read; `hint` says what to write."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Period(Struct, frozen=True):
    """A day, week, month or hour. `begin` and `end` are UTC without a time zone; `end` is the `begin` of the next."""

    unit: str
    begin: datetime

    @property
    def end(self) -> datetime:
        match self.unit:
            case "hour":
                return self.begin + timedelta(hours=1)
            case "day":
                return self.begin + timedelta(days=1)
            case "week":
                return self.begin + timedelta(weeks=1)
        return (self.begin + timedelta(days=32)).replace(day=1)

    @property
    def next(self) -> Period:
        return Period(self.unit, self.end)

    @property
    def text(self) -> str:
        match self.unit:
            case "hour":
                return f"{self.begin:%Y-%m-%dT%H}"
            case "day":
                return f"{self.begin:%Y-%m-%d}"
            case "week":
                year, week, _ = self.begin.isocalendar()
                return f"{year:04}-W{week:02}"
        return f"{self.begin:%Y-%m}"


def read_period(text: str) -> Period | None:
    """The period that is written so; None for any other text."""
    for unit, form in _FORMS:
        if form.fullmatch(text):
            whole = {"month": f"{text}-01", "hour": f"{text}:00"}.get(unit, text)
            try:
                return Period(unit, datetime.fromisoformat(whole))
            except ValueError:
                return None
    return None


class Item(Struct, frozen=True, kw_only=True):
    """The values of one item by name, as they are typed. `given` are the texts that become the arguments of `run()`,
    where these are others: of a period its begin. `end` is when its period is over, in seconds since 1970; 0 for what
    is no period of a range. `is_expected`: it comes from a file that is not there yet, and that another tool makes."""

    values: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)
    end: float = 0.0
    is_expected: bool = False

    @property
    def text(self) -> str:
        return " ".join(map(quoted, self.values.values()))

    def given_for(self, name: str) -> str:
        return self.given.get(name, self.values[name])

    def fill(self, pattern: str) -> str:
        """The pattern with the values in place of the names in braces."""
        return _NAME_IN_BRACES.sub(
            lambda found: self.values.get(found.group(1), found.group()), pattern
        )


def quoted(text: str) -> str:
    """The text, in quotes where it would not stand as one word on a line."""
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


NO_ITEM = Item()


def has_values(values: Mapping[str, str], asked: Mapping[str, Sequence[str]]) -> bool:
    """Whether an item has one of the values, or one in the ranges and globs, that are asked for of each of these
    parameters."""
    return all(
        name in values and any(_is_asked(values[name], text) for text in texts)
        for name, texts in asked.items()
    )


def _is_asked(value: str, text: str) -> bool:
    if value == text:
        return True
    start, dots, stop = text.partition("..")
    if dots or read_period(text):
        first, last, at = _span(start), _span(stop if dots else start), _span(value)
        is_late = not start or (first is not None and at is not None and first[0] <= at[0])
        is_early = not (stop or not dots) or (
            last is not None and at is not None and at[0] <= last[1]
        )
        return is_late and is_early
    span = _span(text)
    return fnmatch.fnmatchcase(value, text) or (span is not None and span == _span(value))


def _span(text: str) -> tuple[float, float] | None:
    """Where a period begins and ends, or a number; None for what has no order."""
    if (period := read_period(text)) is not None:
        return seconds_of(period.begin), seconds_of(period.end) - 1
    try:
        return float(text), float(text)
    except ValueError:
        return None


def noun_of(names: Sequence[str], count: int) -> str:
    """What items with these parameters are called: `days` for `day`."""
    name = names[0] if len(names) == 1 else "item"
    if count == 1:
        return name
    if name.endswith("y") and name[-2:-1] not in ("", *"aeiou"):
        return f"{name[:-1]}ies"
    return name if name.endswith("s") else f"{name}s"


def values_in(text: str) -> list[str]:
    """The values in the text of an item."""
    found = re.findall(r'"(?:[^"\\]|\\.)*"|\S+', text)
    return [json.loads(one) if one[:1] == '"' else one for one in found]


# The key of a step.


def key_of(module: str, item: Item) -> str:
    """The key of a step; the module alone for a tool without items."""
    return f"{module} {item.text}" if item.values else module


def tool_of(key: str) -> str:
    """The module of the tool."""
    return key.partition(" ")[0]


def tool_name(name: str, key: str) -> str:
    """The name of the tool, of the name of a step with this key."""
    item = item_text(key)
    return name.removesuffix(f" {item}") if item else name


def item_text(key: str) -> str:
    """The text of the item; "" where there is none."""
    return key.partition(" ")[2]


def last_items(keys: Iterable[str], most: int) -> list[str]:
    """These steps, but of the items of one tool the last ones alone."""
    found, counts = [], Counter[str]()
    for key in reversed([*keys]):
        counts[tool_of(key)] += 1
        if not item_text(key) or counts[tool_of(key)] <= most:
            found.append(key)
    return found[::-1]


# What "each" says.


class FilePattern(Struct, frozen=True):
    """One item for each file that the pattern matches; the `names` in braces are parameters. With a `whole`, the path
    itself is the value of that parameter."""

    pattern: str
    names: tuple[str, ...] = ()
    whole: str = ""

    @property
    def params(self) -> tuple[str, ...]:
        return (self.whole,) if self.whole else self.names

    @property
    def literal(self) -> object:
        return {self.whole: self.pattern} if self.whole else self.pattern

    def file_of(self, item: Item) -> str:
        """The file that the item stands for; "" where the pattern does not tell which."""
        path = item.values.get(self.whole, "") if self.whole else item.fill(self.pattern)
        return "" if set(path) & set("*?[{") and not self.whole else path


class Range(Struct, frozen=True):
    """The periods from the `first` to the `last`; without one, up to the last that is over, or with `is_today` up to
    the present one."""

    first: Period
    last: Period | None = None
    is_today: bool = False

    @property
    def literal(self) -> str:
        last = TODAY if self.is_today else self.last.text if self.last else ""
        return f"{self.first.text}..{last}"

    def find(self, now: datetime) -> Iterator[Period]:
        period = self.first
        while True:
            if self.last is not None:
                if period.begin > self.last.begin:
                    return
            elif (period.begin if self.is_today else period.end) > now:
                return
            yield period
            period = period.next


class Grid(Struct, frozen=True):
    """All combinations of values and periods, by name."""

    parts: Mapping[str, tuple[str, ...] | Range]

    @property
    def params(self) -> tuple[str, ...]:
        return tuple(self.parts)

    @property
    def literal(self) -> object:
        return {
            name: part.literal if isinstance(part, Range) else list(part)
            for name, part in self.parts.items()
        }

    def find(self, now: datetime) -> Iterator[Item]:
        """The items; a first value comes with all others before the second one does."""
        columns: list[Sequence[str | Period]] = [
            [*part.find(now)] if isinstance(part, Range) else part for part in self.parts.values()
        ]
        for combined in itertools.product(*columns):
            texts = [one.text if isinstance(one, Period) else one for one in combined]
            ends = [seconds_of(one.end) for one in combined if isinstance(one, Period)]
            yield Item(values=dict(zip(self.parts, texts, strict=True)), end=max(ends, default=0.0))


class SameItems(Struct, frozen=True):
    """The items of another tool."""

    word: str

    @property
    def literal(self) -> object:
        return self.word


Each = FilePattern | Grid | SameItems


def describe_no_items(each: Each) -> tuple[str, str]:
    """Why a tool has no items, as the end of a sentence; and a hint."""
    match each:
        case FilePattern():
            return f'no file matches "{each.pattern}"', "they appear when there are such files"
        case SameItems():
            return f"they are those of {each.word}", ""
    return f"no period of {json.dumps(each.literal)} is over", "they appear with time"


def seconds_of(moment: datetime) -> float:
    """Of a time in UTC, since 1970."""
    return moment.replace(tzinfo=UTC).timestamp()


def read_each(value: object) -> Each:
    """What the literal says. Raises EachError."""
    match value:
        case str() if "{" in value or "}" in value:
            return _read_pattern(value)
        case str() if value and not set(value) & set("*?[/"):
            return SameItems(value)
        case str() if value:
            raise EachError(
                f'"each" in ORCH has the pattern "{value}" without a parameter',
                f'write {{"file": "{value}"}} for each path, or put a parameter in braces: "raw/{{day}}.csv"',
            )
        case dict() if len(value) == 1 and _is_glob(next(iter(value.values()))):
            (name, pattern), *_ = value.items()
            return FilePattern(_clean(pattern), whole=name)
        case dict() if value:
            grid = Grid({name: _read_values(name, one) for name, one in value.items()})
            count = 1
            for part in grid.parts.values():
                count *= 1 if isinstance(part, Range) else len(part)
            if count > MOST_ITEMS:
                raise EachError(
                    f'"each" in ORCH has {count:,} combinations', "leave out some of the values"
                )
            return grid
    raise EachError(
        '"each" in ORCH must be a pattern, a dict or the name of a tool',
        'for example "raw/{day}.csv", {"day": "2026-01-01.."}, {"region": ["eu", "us"]} or "clean"',
    )


def _is_glob(value: object) -> bool:
    return (
        isinstance(value, str)
        and ".." not in value.split("/", 1)[0]
        and bool(set(value) & set("*?[/"))
    )


def _clean(pattern: str) -> str:
    return pattern.removeprefix("./")


def _read_pattern(pattern: str) -> FilePattern:
    names = tuple(dict.fromkeys(_NAME_IN_BRACES.findall(pattern)))
    rest = _NAME_IN_BRACES.sub("", pattern)
    if not names or "{" in rest or "}" in rest:
        raise EachError(
            f'"each" in ORCH has the pattern "{pattern}", which cannot be read',
            'write the name of a parameter in braces: "raw/{day}.csv"',
        )
    return FilePattern(_clean(pattern), names)


def _read_values(name: str, value: object) -> tuple[str, ...] | Range:
    example = f'for example {{"{name}": ["eu", "us"]}} or {{"{name}": "2026-01-01.."}}'
    if isinstance(value, str) and ".." in value:
        return _read_range(name, value)
    if isinstance(value, list | tuple) and all(isinstance(one, str | int | float) for one in value):
        if not value:
            raise EachError(f'"each" in ORCH has no values for {name}', example)
        texts = tuple(_text_of(one) for one in value)
        if len(set(texts)) < len(texts):
            twice = next(one for one in texts if texts.count(one) > 1)
            raise EachError(f'"each" in ORCH has {twice} twice for {name}', "remove one of them")
        return texts
    hint = f'a pattern stands alone, as in "each": "raw/{{{name}}}.csv"; {example}'
    raise EachError(f'"each" in ORCH must have a list or a range for {name}', hint)


def _text_of(value: str | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read_range(name: str, text: str) -> Range:
    start, _, stop = text.partition("..")
    first, last = read_period(start), read_period(stop)
    hint = 'write for example "2026-01-01..", "2026-01..2026-03", "2026-W05.." or "2026-01-01T00..today"'
    if first is None or (last is None and stop not in ("", TODAY)):
        raise EachError(
            f'"each" in ORCH has the range "{text}" for {name}, which cannot be read', hint
        )
    if last is not None and last.unit != first.unit:
        raise EachError(
            f'"each" in ORCH has a range for {name} from a {first.unit} to a {last.unit}', hint
        )
    if last is not None and last.begin < first.begin:
        raise EachError(
            f'"each" in ORCH has the range "{text}" for {name}, which ends before it begins',
            "exchange the two ends",
        )
    return Range(first, last, is_today=stop == TODAY)


def as_glob(pattern: str) -> str:
    """The pattern with `*` in place of the names in braces."""
    return _NAME_IN_BRACES.sub("*", pattern)


def matching(pattern: str) -> re.Pattern[str]:
    """A path that the pattern matches, with a group for each name in braces: the shortest text without a `/`, and the
    same one wherever the name stands. `*` and `?` match as in a glob, and `**/` any folders."""
    parts: list[str] = []
    seen: set[str] = set()
    for piece in re.split(r"(\{\w+\}|\*\*/|\*|\?|\[[^]]+\])", pattern):
        if piece[:1] == "{" and piece[-1:] == "}":
            name = piece[1:-1]
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+?)")
            seen.add(name)
        elif piece == "**/":
            parts.append("(?:[^/]+/)*?")
        elif piece == "*":
            parts.append("[^/]*?")
        elif piece == "?":
            parts.append("[^/]")
        elif piece[:1] == "[" and piece[-1:] == "]":
            parts.append("[^" + piece[2:] if piece[1] in "!^" else piece)
        else:
            parts.append(re.escape(piece))
    return re.compile("".join(parts), re.DOTALL)


def sorted_items(items: Sequence[tuple[Sequence[object], Item]]) -> list[Item]:
    """The items in the order of their values, which stand before them; by their texts where these have no order."""
    try:
        return [item for _, item in sorted(items, key=lambda one: tuple(one[0]))]
    except TypeError:
        return [item for _, item in sorted(items, key=lambda one: one[1].text)]
