"""`orch.lock`: the observed data flow of the tools as a text for git, for clones without the memory of a run.

It has a line for each thing that a tool uses: no versions, no numbers, nothing that differs between two machines, or
between a first run and a second one. So a table that the tool makes anew counts as written, whether it was there or
not, and of files outside the project it says only that there are some. Many files of one kind in a folder are one
line. Where a line cannot be read, as after an edit by hand or a conflict of git, the whole file says nothing: the
rest of it may mean anything.

A tool with items is one, with the names of their values in braces in the paths that each item has with its own.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from posixpath import isabs, splitext

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.model.dataflow import Dataflow, less
from discover_orch.model.errors import Problem
from discover_orch.model.keys import WHOLE
from discover_orch.state.sealed_files import open_nonblocking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LOCK_FILE = "orch.lock"
HEAD = """\
# What orch has seen the tools read and write, format 1. Written by "orch lock": commit this file, and do not edit it.
"""
#: More files of one kind in one folder are one line.
MOST_ALIKE = 10
AGAIN = "restore it, or write it anew with: orch lock"
#: In place of the names of files outside the project, which differ from one machine to the next: who reads some comes
#: after whoever writes some.
OUTSIDE = "../files outside the project"
_UNCLEAR = "not seen: it used the database in a way that orch cannot see"
_ALL_TABLES = "all tables"
#: The field of `Dataflow` that each line adds a name to. `loads` is for code that no import names.
_FIELDS = {
    "reads file": "reads",
    "reads files": "inputs",
    "reads table": "tables_read",
    "looks for file": "missed",
    "looks for table": "tables_missed",
    "lists folder": "folders",
    "loads file": "code",
    "writes file": "writes",
    "writes files": "outputs",
    "writes table": "tables_written",
    "appends to file": "appended",
    "removes file": "removed",
    "creates table": "tables_kept",
    "drops table": "tables_dropped",
    "not seen: it": "gaps",
}
_GAP = "not seen: it"
_TABLES = frozenset(one for one in _FIELDS if one.endswith("table"))
_STARTS = sorted(_FIELDS, key=len, reverse=True)
#: Lines that say of a whole kind what others say of one thing.
_WHOLE = {
    **{f"{verb} {_ALL_TABLES}": (f"{verb} table", WHOLE) for verb in ("reads", "writes")},
    **{f"{verb} {OUTSIDE[3:]}": (f"{verb} file", OUTSIDE) for verb in ("reads", "writes")},
}
_SHORT = {one: line for line, one in _WHOLE.items()}
#: Each stands where there is no line that starts so.
_NOTHING = {
    "reads nothing": ("reads ", "looks ", "lists "),
    "writes nothing": ("writes ", "appends ", "removes ", "creates ", "drops "),
}
_CONFLICT = ("<<<<<<<", "=======", ">>>>>>>", "|||||||")


class LockedTool(Struct, frozen=True, kw_only=True):
    """What one tool was seen to read and write, and the files of its code that its imports do not name."""

    flow: Dataflow
    code: tuple[str, ...] = ()


class FlowLock(Struct, frozen=True, kw_only=True):
    """The file: what it says of each tool, by module, and its bytes, None where there is no file, or none that can be
    read. Where a line cannot be read, it says nothing, and `problems` say why."""

    tools: Mapping[str, LockedTool] = {}
    data: bytes | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def flows(self) -> dict[str, Dataflow]:
        return {module: one.flow for module, one in self.tools.items()}

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems, for a command that cannot go on with them."""
        return tuple(replace(one, severity="error") for one in self.problems)


NO_LOCK = FlowLock()


def read_lock(root: str) -> FlowLock:
    """The lock of the project. Never raises."""
    path = os.path.join(root, LOCK_FILE)
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):  # a link of a repository may lead anywhere
            return FlowLock(problems=_problem("this is not a regular file", None))
        with open(path, "rb", opener=open_nonblocking) as file:
            data = file.read()
    except FileNotFoundError:
        return NO_LOCK
    except OSError as error:
        return FlowLock(problems=_problem(f"cannot read it: {error.strerror or error}", None))
    return parse_lock(data)


def parse_lock(data: bytes) -> FlowLock:
    """What this text says. Never raises."""
    try:
        tools = {module: _read_tool(lines) for module, lines in _read_blocks(data.decode())}
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        return FlowLock(data=data, problems=_problem("this is not UTF-8", line))
    except _WrongLine as wrong:
        return FlowLock(data=data, problems=_problem(str(wrong), wrong.line))
    return FlowLock(tools=tools, data=data)


def write_lock(tools: Mapping[str, LockedTool]) -> bytes:
    """The text that says this of the tools."""
    blocks = (
        "".join((f"\n{module}\n", *(f"  {line}\n" for line in tool_lines(tools[module]))))
        for module in sorted(tools)
    )
    return "".join((HEAD, *blocks)).encode()


def tool_lines(tool: LockedTool) -> list[str]:
    """The lines about a tool, without what depends on the state in which its last run found the data."""
    flow = tool.flow
    own = {*flow.writes, *flow.outputs, *flow.reads}
    gone = flow.tables_gone
    tables = {*flow.tables_written, *flow.tables_read, *flow.tables_kept, *gone}
    names: dict[str, Iterable[str]] = {
        **{verb: getattr(flow, name, ()) for verb, name in _FIELDS.items()},
        "reads file": [*map(_as_inside, (*flow.reads, *filter(_is_outside, flow.folders)))],
        "looks for file": less(flow.missed, own),
        "looks for table": less(flow.tables_missed, tables),
        "loads file": tool.code,
        "writes file": [*map(_as_inside, less(flow.writes, flow.appended))],
        "writes table": less(flow.tables_filled, gone),
        "removes file": less(flow.removed, own),
        "creates table": less(flow.tables_kept, (*flow.tables_filled, *gone)),
        "drops table": gone,
    }
    found: list[str] = []
    for verb, given in names.items():
        is_path = verb not in _TABLES and verb != _GAP
        kept = {one for one in given if not is_path or one == OUTSIDE or not _is_outside(one)}
        found += _fold(verb, kept) if f"{verb}s" in _FIELDS else _name(verb, kept)
    found += ["lists tables"] if flow.lists_tables else []
    found += [_UNCLEAR] if flow.is_unclear else []
    for nothing, starts in _NOTHING.items():
        found += (
            [] if flow.is_unclear or any(one.startswith(starts) for one in found) else [nothing]
        )
    verbs = [one.partition(" ")[0] for one in _FIELDS]
    return sorted({*found}, key=lambda line: (verbs.index(line.partition(" ")[0]), line))


def _fold(verb: str, names: Iterable[str]) -> Iterator[str]:
    kinds: dict[str, list[str]] = {}
    for path in names:
        kinds.setdefault(kind_of(path), []).append(path)
    for pattern, paths in kinds.items():
        is_many = len(paths) > MOST_ALIKE
        yield from _name(f"{verb}s", [pattern]) if is_many else _name(verb, paths)


def kind_of(path: str) -> str:
    """The pattern for the files of this kind in this folder."""
    folder, slash, name = path.rpartition("/")
    return f"{glob.escape(folder)}{slash}*{glob.escape(splitext(name)[1])}"


def _name(verb: str, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        shown = name if _is_plain(name) else json.dumps(name)
        yield _SHORT.get((verb, name)) or f"{verb} {shown}"


def _as_inside(path: str) -> str:
    return OUTSIDE if _is_outside(path) else path


def _is_plain(name: str) -> bool:
    return name.isprintable() and name.strip() == name and name[:1] not in ("", '"')


def _is_outside(path: str) -> bool:
    return isabs(path) or path == ".." or path.startswith("../")


# Reading.


class _WrongLine(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def _problem(message: str, line: int | None) -> tuple[Problem]:
    text = f"{message}; what the file says does not count"
    return (
        Problem(
            code="lock", message=text, hint=AGAIN, path=LOCK_FILE, line=line, severity="warning"
        ),
    )


def _read_blocks(text: str) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """Each module with its lines, and the number of each line."""
    numbered = [*enumerate(text.replace("\r\n", "\n").split("\n"), 1)]
    for number, line in numbered:
        if line.startswith(_CONFLICT):
            raise _WrongLine(number, "git has left a conflict here")
    if f"{numbered[0][1]}\n" != HEAD:
        is_other = text.startswith(HEAD.partition("1")[0])
        other = "another version of orch has written this file"
        raise _WrongLine(1, other if is_other else "orch lock writes another first line")
    blocks: dict[str, list[tuple[int, str]]] = {}
    lines: list[tuple[int, str]] | None = None
    for number, line in numbered:
        if not line or line.startswith("#"):
            continue
        if line[:2] == "  " and lines is not None:
            lines.append((number, line[2:]))
        elif not line[:1].isspace() and _is_plain(line) and " " not in line:
            if line in blocks:
                raise _WrongLine(number, f"{line} stands here a second time")
            lines = blocks[line] = []
        else:
            raise _WrongLine(number, _wrong(line))
    yield from blocks.items()


def _read_tool(lines: Iterable[tuple[int, str]]) -> LockedTool:
    found: dict[str, list[str]] = {name: [] for name in _FIELDS.values()}
    is_unclear = lists_tables = False
    for number, line in lines:
        if line == _UNCLEAR:
            is_unclear = True
        elif line == "lists tables":
            lists_tables = True
        elif line not in _NOTHING:
            name, value = _read_line(line, number)
            found[name].append(value)
    code, kept = found.pop("code"), found["tables_kept"]
    found["writes"] += found["appended"]
    found["tables_written"] += kept + found["tables_dropped"]
    names: dict[str, Any] = {name: tuple(values) for name, values in found.items()}
    names |= {"is_unclear": is_unclear, "lists_tables": lists_tables}
    return LockedTool(flow=Dataflow(**names, tables_created=tuple(kept)), code=tuple(code))


def _read_line(line: str, number: int) -> tuple[str, str]:
    """The field, and the name that it gets."""
    if line in _WHOLE:
        verb, name = _WHOLE[line]
        return _FIELDS[verb], name
    verb = next((one for one in _STARTS if line.startswith(f"{one} ")), "")
    text = line[len(verb) + 1 :]
    quoted = None
    if text[:1] == '"':
        with contextlib.suppress(ValueError):
            quoted = json.loads(text)
    written = quoted if text[:1] == '"' else text if _is_plain(line) else None
    if not verb or not isinstance(written, str):
        raise _WrongLine(number, _wrong(line))
    is_path = verb not in _TABLES and verb != _GAP
    if is_path and (isabs(written) or ".." in written.split("/")):
        raise _WrongLine(number, f"{written} is outside the project")
    return _FIELDS[verb], written


def _wrong(line: str) -> str:
    return f"orch lock writes no such line: {line.strip()[:80]!r}"
