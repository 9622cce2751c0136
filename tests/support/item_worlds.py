"""Random pipelines with items, what can happen to them, and what each step makes: plain loops, the oracle.

A file of one day has one number in it, or a text with which a tool fails. Each tool makes a text of what it reads for each
item, as a file or as rows of a table, or one text of all items.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

DAYS = ("2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04")
ALL = "all"
CONTENTS = ("0", "1", "2", "33")
BAD = {"raw": "bad", "tool": "poor"}  # with which the first tools, and the others, fail


@dataclass(frozen=True)
class Tool:
    """`each`: `pattern`, `paths`, `list` or `range`, of the files in `raw`; `tool` or `made`, of the first of the tools in
    `of`; "" for one that reads all days. `writes` is `file` or the name of a table. `stage` is its number."""

    name: str
    each: str
    writes: str
    of: tuple[str, ...] = ()
    type: str = "date"
    stage: int = 0
    is_declared: bool = False
    is_flat: bool = False  # of what it reads only the length counts
    reads_before: bool = False  # what the day before left too, one after another
    reads_all: bool = False  # an item that reads all days of its first tool
    lists: bool = False  # of a folder all files, by its listing
    by_column: bool = False  # says that an item uses the rows of its day alone

    @property
    def is_file(self) -> bool:
        return self.writes == "file"


@dataclass(frozen=True)
class Step:
    kind: str
    name: str = ""
    text: str = ""
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class History:
    tools: tuple[Tool, ...]
    steps: tuple[Step, ...]
    days: tuple[str, ...] = DAYS[:2]  # at the beginning

    def tool(self, name: str) -> Tool:
        return next(one for one in self.tools if one.name == name)

    def root_of(self, tool: Tool) -> Tool:
        """The tool that gives it its items."""
        return self.root_of(self.tool(tool.of[0])) if tool.each in ("tool", "made") else tool


@dataclass
class State:
    """What the user has written."""

    raw: dict[str, str] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    comments: dict[str, int] = field(default_factory=dict)
    lists: dict[str, int] = field(default_factory=dict)  # how many days the tool names

    def listed(self, name: str) -> tuple[str, ...]:
        return DAYS[: self.lists.get(name, 2)]


# The oracle.


def items_of(history: History, state: State, tool: Tool) -> list[str]:
    """The days for which the tool runs."""
    root = history.root_of(tool)
    if root.each in ("list", "range"):
        return [*state.listed(root.name)]
    return sorted(state.raw)


#: What each step makes, by tool and day (ALL for a tool without items); None where it cannot be made.
Made = Mapping[tuple[str, str], "str | None"]


def expected(
    history: History, state: State, *, is_blocked: bool = True
) -> dict[tuple[str, str], str | None]:
    """What a clean run makes. With `is_blocked`, nothing behind an item that fails where items run in order."""
    made: dict[tuple[str, str], str | None] = {}
    for tool in history.tools:
        before: str | None = ""
        for day in items_of(history, state, tool) if tool.each else [ALL]:
            text = _read(history, state, tool, day, made)
            if text is not None and BAD["tool" if tool.of else "raw"] in text and tool.each:
                text = None
            if text is not None and tool.is_flat:
                text = str(len(text))
            if text is not None and tool.reads_before:
                text = (
                    None if before is None and is_blocked else f"{text}<{_before(made, tool, day)}"
                )
            made[tool.name, day] = (
                None if text is None else f"{tool.name}{state.versions.get(tool.name, 0)}({text})"
            )
            before = made[tool.name, day]
    return made


def find_shaken(history: History, made: Made) -> set[str]:
    """The tools whose steps may be stale because some step cannot be made: nothing tells the rows of a table apart."""
    broken = {name for (name, _), text in made.items() if text is None}
    found: set[str] = set()
    for tool in (*history.tools, *history.tools):  # what a later tool writes counts too
        if broken and any(one.each == "made" and not one.is_declared for one in history.tools):
            found.add(tool.name)  # what a tool reads that has not run yet is not known
        tables = {one.writes for one in (tool, *map(history.tool, tool.of)) if not one.is_file}
        for other in (one for one in history.tools if one is not tool):
            is_near = other.writes in tables or (other.name in tool.of and tool.reads_all)
            if (other.name in broken and is_near) or (
                other.name in found and (is_near or other.name in tool.of)
            ):
                found.add(tool.name)
    return found


def _before(made: Made, tool: Tool, day: str) -> str:
    at = DAYS.index(day)
    return (made.get((tool.name, DAYS[at - 1])) or "") if at else ""


def _read(history: History, state: State, tool: Tool, day: str, made: Made) -> str | None:
    if tool.each and not tool.of:
        return state.raw.get(day, "none")
    if tool.each and not tool.reads_all:
        return made.get((tool.of[0], day))
    texts: list[str] = []
    for name in tool.of[:1] if tool.each else tool.of:
        found = {one: text for (of, one), text in made.items() if of == name}
        if None in found.values():
            return None
        texts += [f"{one}={text}" for one, text in sorted(found.items())]
    if not tool.of:  # a loop over the files
        texts = [f"{one}={text}" for one, text in sorted(state.raw.items())]
    return ";".join(texts)


# The files of the project.


def user_files(history: History, state: State) -> dict[str, str]:
    stages = sorted({tool.stage for tool in history.tools})
    names = ", ".join(f'"s{one}"' for one in stages)
    files = {"orch.toml": f"stages = [{names}]\n"}
    files |= {f"raw/{day}.txt": text for day, text in state.raw.items()}
    files |= {f"src/{tool.name}.py": _source(history, state, tool) for tool in history.tools}
    return files


def param_of(history: History, tool: Tool) -> str:
    if tool.each == "made" and tool.is_declared:
        return "d"
    root = tool if tool.each != "tool" else history.tool(tool.of[0])
    if root is not tool:
        return param_of(history, root)
    return "file" if tool.each == "paths" else "day"


def value_of(history: History, tool: Tool, day: str) -> str:
    """The value of the item of this day, as it is typed."""
    return f"raw/{day}.txt" if param_of(history, tool) == "file" else day


def _source(history: History, state: State, tool: Tool) -> str:
    lines = [f'"""Tool {tool.name}."""', f"# {state.comments.get(tool.name, 0)}"]
    lines += ["from datetime import date", "from pathlib import Path"]
    lines += [f'STAGE = "s{tool.stage}"', f"ORCH = {_tag(history, state, tool)!r}"]
    name = param_of(history, tool) if tool.each else ""
    kind = "Path" if name == "file" else tool.type
    parts = [*(["conn"] if _needs_database(history, tool) else [])]
    parts += [f"*, {name}: {kind}"] if name else []
    lines.append(f"def run({', '.join(parts)}):")
    body = [*_body(history, state, tool, name)]
    return "\n".join([*lines, *(f"    {one}" for one in body)]) + "\n"


def _needs_database(history: History, tool: Tool) -> bool:
    return not tool.is_file or any(not history.tool(one).is_file for one in tool.of)


def _tag(history: History, state: State, tool: Tool) -> dict[str, object]:
    tag: dict[str, object] = {}
    days = state.listed(tool.name)
    match tool.each:
        case "pattern":
            tag["each"] = "raw/{day}.txt"
        case "paths":
            tag["each"] = {"file": "raw/*.txt"}
        case "list":
            tag["each"] = {"day": [*days]}
        case "range":
            tag["each"] = {"day": f"{days[0]}..{days[-1]}"}
        case "tool":
            tag["each"] = tool.of[0]
        case "made":
            tag["each"] = f"{tool.of[0]}/{{{param_of(history, tool)}}}.txt"
    if tool.is_declared and tool.is_file and tool.each and param_of(history, tool) != "file":
        tag["outputs"] = f"{tool.name}/{{{param_of(history, tool)}}}.txt"
    if tool.reads_before:
        tag["in_order"] = True
    if tool.by_column and param_of(history, tool) != "file":
        tag["column"] = "day"
    return tag


def _body(history: History, state: State, tool: Tool, name: str) -> Iterator[str]:
    if name:
        yield f"day = {'file.stem' if name == 'file' else f'str({name})'}"
    if tool.each and not tool.of:
        yield 'raw = Path(f"raw/{day}.txt")'
        yield 'text = raw.read_text() if raw.exists() else "none"'
    elif tool.each and not tool.reads_all:
        yield from _read_item(history.tool(tool.of[0]))
    else:
        yield from _read_all(history, tool)
    if tool.each:
        yield f'if "{BAD["tool" if tool.of else "raw"]}" in text:'
        yield "    raise ValueError(text)"
    if tool.is_flat:
        yield "text = str(len(text))"
    if tool.reads_before:
        yield from _read_before(tool)
    yield f'text = f"{tool.name}{state.versions.get(tool.name, 0)}({{text}})"'
    day = "day" if tool.each else f'"{ALL}"'
    if tool.is_file:
        yield f'Path("{tool.name}").mkdir(exist_ok=True)'
        yield f'Path("{tool.name}", {day} + ".txt").write_text(text)'
    else:
        table = tool.writes
        yield f'conn.execute("CREATE TABLE IF NOT EXISTS {table} (maker TEXT, day TEXT, x TEXT)")'
        yield f'key = ("{tool.name}", {day})'
        yield f'conn.execute("DELETE FROM {table} WHERE maker = ? AND day = ?", key)'
        yield f'conn.execute("INSERT INTO {table} VALUES (?, ?, ?)", (*key, text))'


def _read_item(of: Tool) -> Iterator[str]:
    if of.is_file:
        yield f'text = Path(f"{of.name}/{{day}}.txt").read_text()'
    else:
        rows = f'"SELECT x FROM {of.writes} WHERE maker = ? AND day = ?", ("{of.name}", day)'
        yield f"((text,),) = conn.execute({rows}).fetchall()"


def _read_all(history: History, tool: Tool) -> Iterator[str]:
    yield "texts = []"
    for of in map(history.tool, tool.of[:1] if tool.each else tool.of):
        if of.is_file:
            found = f'Path("{of.name}").iterdir()' if tool.lists else f'Path().glob("{of.name}/*")'
            yield f"for one in sorted({found}):"
            yield '    texts.append(f"{one.stem}={one.read_text()}")'
        else:
            rows = f"SELECT day, x FROM {of.writes} WHERE maker = '{of.name}' ORDER BY day"
            yield f'for one, x in conn.execute("{rows}").fetchall():'
            yield '    texts.append(f"{one}={x}")'
    if not tool.of:
        yield 'for one in sorted(Path().glob("raw/*.txt")):'
        yield '    texts.append(f"{one.stem}={one.read_text()}")'
    yield 'text = ";".join(texts)'


def _read_before(tool: Tool) -> Iterator[str]:
    yield f"at = {DAYS!r}.index(day)"
    yield f'earlier = {DAYS!r}[at - 1] if at else "none"'
    if tool.is_file:
        yield f'then = Path(f"{tool.name}/{{earlier}}.txt")'
        yield 'text = f"{text}<{then.read_text() if then.exists() else str()}"'
    else:
        table = tool.writes
        yield f'conn.execute("CREATE TABLE IF NOT EXISTS {table} (maker TEXT, day TEXT, x TEXT)")'
        rows = f'"SELECT x FROM {table} WHERE maker = ? AND day = ?", ("{tool.name}", earlier)'
        yield f"rows = conn.execute({rows}).fetchall()"
        yield 'text = f"{text}<{rows[0][0] if rows else str()}"'


# Random worlds and histories.


def random_history(seed: int) -> History:
    chance = random.Random(f"items {seed}")
    tools: list[Tool] = []
    for name in "abcde"[: chance.randint(2, 5)]:
        tools.append(_random_tool(chance, name, tools))
    start = History(tuple(tools), ())
    steps = tuple(_random_step(chance, start) for _ in range(chance.randint(8, 22)))
    return replace(start, steps=(*steps, Step("check")), days=DAYS[: chance.randint(1, 3)])


def _random_tool(chance: random.Random, name: str, earlier: list[Tool]) -> Tool:
    with_items = [one for one in earlier if one.each]
    kinds = ["tool", "tool", "made", "made", "", "", "first"] if with_items else ["first"]
    each = chance.choice(kinds)
    table = chance.choice(("t", f"t_{name}"))
    stage = (earlier[-1].stage if earlier else 0) + 1
    one = Tool(
        name,
        each,
        chance.choice(("file", table)),
        type=chance.choice(("date", "str")),
        stage=stage,
        is_flat=chance.random() < 0.25,
        lists=chance.random() < 0.5,
        is_declared=chance.random() < 0.4,
    )
    if each == "first":
        form = chance.choice(("pattern", "pattern", "paths", "list", "range"))
        before, column = form != "paths" and chance.random() < 0.15, chance.random() < 0.4
        return replace(one, each=form, reads_before=before, by_column=column)
    if each == "":
        of = [one.name for one in chance.sample(earlier, chance.randint(0, min(2, len(earlier))))]
        return replace(one, of=tuple(sorted(of)))
    of_tool = chance.choice(with_items)
    if not of_tool.is_file:
        one = replace(one, each="tool")
    elif one.each == "made":
        root = History(tuple(earlier), ()).root_of(of_tool)
        one = replace(one, is_declared=of_tool.is_declared and root.each != "paths")
    if one.each == "tool" or one.is_declared:  # else only the stage says what comes first
        one = replace(one, stage=stage - chance.randint(0, 1))
    all_days, column = chance.random() < 0.1, chance.random() < 0.4
    return replace(one, of=(of_tool.name,), reads_all=all_days, by_column=column and not all_days)


KINDS = (
    ("put", 6), ("remove", 2), ("same", 1), ("bad", 1), ("poor", 1), ("edit", 3), ("comment", 1),
    ("list", 2), ("drop", 1), ("row", 1), ("delete row", 1), ("hand", 1), ("delete", 1), ("run", 6),
    ("changed", 3), ("resume", 1), ("clean", 1), ("check", 4),
)  # fmt: skip


def _random_step(chance: random.Random, history: History) -> Step:
    (kind,) = chance.choices([kind for kind, _ in KINDS], [weight for _, weight in KINDS])
    tool = chance.choice(history.tools)
    day = chance.choice(DAYS)
    jobs = ("--jobs", "2") if chance.random() < 0.3 else ()
    if kind == "put":
        return Step(kind, day, chance.choice(CONTENTS))
    if kind == "changed":
        return Step(kind, words=(*((tool.name,) if chance.random() < 0.3 else ()), *jobs))
    if kind == "run":
        names = chance.sample(history.tools, chance.randint(1, len(history.tools)))
        words = tuple(one.name for one in names)
        has_day = any(one.each and param_of(history, one) == "day" for one in names)
        if chance.random() < 0.25 and tool.each:
            words = (f"{tool.name} {value_of(history, tool, day)}",)
        elif has_day and chance.random() < 0.6:
            other = chance.choice(DAYS)
            picked = chance.choice((day, f"{min(day, other)}..{max(day, other)}", f"*{day[-1]}"))
            words = (*words, "--day", picked)
        elif chance.random() < 0.2:
            words = ()
        return Step(kind, words=(*words, *jobs))
    text = str(chance.randint(1, 4)) if kind == "list" else day
    return Step(kind, day if kind in ("remove", "same", "bad", "poor") else tool.name, text)


def smaller(history: History) -> Iterator[History]:
    """Histories with less in them."""
    steps = history.steps
    size = len(steps) // 2
    while size:
        for at in range(0, len(steps), size):
            yield replace(history, steps=(*steps[:at], *steps[at + size :]))
        size //= 2
    for tool in history.tools:
        if not any(tool.name in one.of for one in history.tools):
            rest = tuple(one for one in history.tools if one is not tool)
            kept = tuple(one for one in steps if not _names(one, tool.name))
            yield replace(history, tools=rest, steps=kept)
    for at, tool in enumerate(history.tools):
        for plain in (
            {"is_flat": False}, {"lists": False}, {"reads_before": False}, {"reads_all": False},
            {"type": "str"}, {"by_column": False},
        ):  # fmt: skip
            found = replace(tool, **plain)
            if found != tool:
                yield replace(history, tools=(*history.tools[:at], found, *history.tools[at + 1 :]))
    for at, step in enumerate(steps):
        if "--jobs" in step.words:
            plain_step = replace(step, words=step.words[:-2])
            yield replace(history, steps=(*steps[:at], plain_step, *steps[at + 1 :]))


def _names(step: Step, name: str) -> bool:
    return step.name == name or any(word.partition(" ")[0] == name for word in step.words)
