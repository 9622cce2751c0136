"""A hint for a tool that failed because a file or a table is not there yet: which tool makes it, and what to write.

What is missing is read from the text of the error, since libraries wrap the error of the system or of the driver in
errors of their own. Reads the source of the tools that run later, or that were not in the run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from functools import partial

from discover_orch.discovery.registry import Registry
from discover_orch.model import graph
from discover_orch.model.conventions import GLOB_CHARACTERS
from discover_orch.model.dataflow import Dataflow
from discover_orch.model.errors import Failure
from discover_orch.model.flow_edges import Written
from discover_orch.model.tool import Tool, after_hint

_TABLE = re.compile(
    r"no such (?:table|view): (?P<sqlite>[^\s\])]+)"
    r'|relation "(?P<postgres>[^"]+)" does not exist'
    r"|(?:Table|View) with name (?P<duckdb>\S+) does not exist"
)
_FILE = re.compile(
    r"No such file or directory|No files found that match|database does not exist|paths were empty",
    re.IGNORECASE,
)
_QUOTED = re.compile(
    r"""(["'])(?P<quoted>[^"'\n]+)\1|: (?P<last>[^\s:"'][^\n:"']*)$""", re.MULTILINE
)
#: What a line has that reads a file, and what one has that makes it.
_READS = re.compile(
    r"\b(?:open|(?:read|scan|load|genfrom|from|exists)\w*)\b\s*\(|\b(?:from|join)\s+['\"]",
    re.IGNORECASE,
)
_MAKES = re.compile(
    r"""["'][wax]b?\+?["']|write|to_|save|dump|copy|output|touch|retrieve|download""", re.IGNORECASE
)
#: Bytes of a file that are searched.
_MOST_READ = 1_000_000


def find_missing_hint(
    failure: Failure, module: str, modules: Iterable[str], registry: Registry, root: str
) -> str:
    """The hint, or "". `modules` are those of the run, in its order."""
    order = [*modules]
    needs = {
        one: (*registry.before.get(one, ()), *registry.ordering.get(one, ()))
        for one in registry.order
    }
    dependents = graph.reachable([module], graph.reverse(needs))
    later = [
        registry.tools[one] for one in order[order.index(module) + 1 :] if one not in dependents
    ]
    before = registry.order[: registry.order.index(module)]
    absent = [registry.tools[one] for one in before if one not in order]
    tool = registry.tools[module]

    def tell(what: str, writes: Callable[[Dataflow], bool], names: Callable[[str], bool]) -> str:
        """By what the other tools were seen to write, or else by what their texts name."""
        groups = ((absent, _tell_absent), (later, _tell_later))
        for others, say in groups:
            if makers := [one for one in others if writes(registry.flows[one.module])]:
                return say(tool, makers, "writes", what, registry)
        for others, say in groups:
            if makers := [one for one in others if names(_read(root, one))]:
                return say(tool, makers, "names", what, registry)
        return ""

    if found := _TABLE.search(failure.message):
        name = (found["sqlite"] or found["postgres"] or found["duckdb"]).rpartition(".")[2]
        table = name.lower()
        return tell(
            f"table {table}",
            lambda flow: table in flow.tables_written,
            lambda text: _names_table(text, table),
        )
    if failure.type != "FileNotFoundError" and not _FILE.search(failure.message):
        return ""
    own = registry.flows[module]
    hints = (
        (
            ""
            if _writes(path, own)
            else tell(path, partial(_writes, path), partial(_names_file, path))
        )
        or _tell_missing_folder(path, root)
        for path in _find_paths(failure.message, root)
    )
    return next(filter(None, hints), "")


def _tell_missing_folder(path: str, root: str) -> str:
    folder = os.path.dirname(path)
    if not folder or os.path.isdir(os.path.join(root, folder)):
        return ""
    return f"the folder {folder} does not exist"


def _tell_absent(tool: Tool, makers: list[Tool], verb: str, what: str, registry: Registry) -> str:
    """`makers` come before the tool and were not in the run."""
    files = [*dict.fromkeys(one.path for one in makers)]
    paths = " and ".join(files[:3])
    verb, was = (verb, "was") if len(files) == 1 else (verb[:-1], "were")
    name = registry.display(tool.module)
    return f"{paths} {verb} {what} and {was} not in this run: orch run +{name} runs what comes before {name}, too"


def _tell_later(tool: Tool, makers: list[Tool], verb: str, what: str, registry: Registry) -> str:
    """`makers` run later than the tool."""
    files = [*dict.fromkeys(one.path for one in makers)]
    if len(files) > 1:
        paths = " and ".join(files[:3])
        return f"{paths} {verb[:-1]} {what} and run later: set AFTER to the one that makes it"
    maker = makers[0]
    if {*maker.stages}.isdisjoint(tool.stages) and registry.stages[
        registry.rank[maker.module]
    ].is_configured:
        stage = registry.stages[registry.rank[maker.module]].name
        return f"{maker.path} {verb} {what} and is in the later stage {stage}: move one of the two"
    return f"{maker.path} {verb} {what} and runs later: {after_hint(tool, [maker.name])}"


def _find_paths(message: str, root: str) -> list[str]:
    """What may be the path of the file that is missing, relative to the root."""
    found = []
    # pyarrow's message is the path and nothing else.
    texts = [match["quoted"] or match["last"] for match in _QUOTED.finditer(message)]
    for path in map(str.strip, texts or [message.partition("\n")[0]]):
        if os.path.isabs(path):
            path = os.path.relpath(path, root)
        path = os.path.normpath(path).replace(os.sep, "/")
        if path != "." and not path.startswith("../"):
            found.append(path)
    return found


def _writes(path: str, flow: Dataflow) -> bool:
    """`path` may be a pattern, of which no file was found."""
    return bool(Written([flow]).of_declared(path))


def _names_file(path: str, text: str) -> bool:
    """Whether the text has the path, or its last part where it is put together: `DATA / "raw.csv"`; and not only in
    lines that read it."""
    if not GLOB_CHARACTERS.isdisjoint(path):  # who makes such files names their folder
        path = re.split(r"[*?[]", path)[0].rpartition("/")[0]
        if not path:
            return False
    name = re.compile(rf"""["'/]{re.escape(path.rpartition("/")[2])}["']""")
    return any(
        (path in line or name.search(line))
        and not (_READS.search(line) and not _MAKES.search(line))
        for line in text.splitlines()
    )


def _names_table(text: str, table: str) -> bool:
    """Whether the text has the name, and not only to read from it."""
    return bool(
        re.search(rf"""(?<!from )(?<!join )\b{re.escape(table)}\b(?!\.)""", text, re.IGNORECASE)
    )


def _read(root: str, tool: Tool) -> str:
    try:
        with open(os.path.join(root, tool.path), encoding="utf-8", errors="replace") as file:
            return file.read(_MOST_READ)
    except OSError:
        return ""
