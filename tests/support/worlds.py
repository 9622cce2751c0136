"""Random pipelines as data: tools are lists of operations, which are rendered to source text.

A tool writes a digest of its code's constant and of everything that it has read, so a stale result is seen. Every
world is deterministic, and a run from scratch succeeds and does not depend on what an earlier run has left:

- a table or file is made anew by its first writer; later tools update, extend or remove it
- a tool reads only what earlier tools made, and nothing that a tool before it has removed
- where orch cannot see an exchange, or would order two tools of a stage otherwise, `AFTER` says the order
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

STAGES = ("load", "work", "show")
NAMES = "abcdefghij"


@dataclass(frozen=True)
class Op:
    """One operation of a tool on a table, file, module or variable; `others` are names that it reads as well."""

    kind: str
    name: str = ""
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tool:
    name: str
    stage: str
    ops: tuple[Op, ...]
    after: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()  # of ORCH: repeatable, inputs, outputs
    gate: int = 0  # the number of operations after which it can be made to fail or to wait


@dataclass(frozen=True)
class World:
    """`tools` are in the order of a full run."""

    tools: tuple[Tool, ...]

    def ops(self) -> list[Op]:
        return [op for tool in self.tools for op in tool.ops]

    def modules(self) -> list[Op]:
        """One operation for each shared module."""
        return list({op.name: op for op in self.ops() if op.kind in MODULES}.values())

    def inputs(self) -> list[str]:
        """The files that belong to the user."""
        names = [name for op in self.ops() for name in (op.name, *op.others)]
        names += [f"data/{op.name}.txt" for op in self.modules() if op.kind in READING_MODULES]
        if any(op.kind == "folder" for op in self.ops()):
            names.append("data/in/one.txt")
        return sorted({name for name in names if name.startswith("data/") and name != "data/in"})

    def variables(self) -> list[str]:
        return sorted({op.name for op in self.ops() if op.kind == "variable"})

    def deletable(self) -> list[str]:
        """Tools that only change what others make, so that these must undo what they did when they are deleted."""
        named = {name for tool in self.tools for name in tool.after}
        changes = {*READS, *TABLE_CHANGERS, *FILE_CHANGERS, "log"}
        return [
            tool.name
            for tool in self.tools
            if tool.name not in named and {op.kind for op in tool.ops} <= changes
        ]

    def written(self, kinds: Collection[str]) -> list[str]:
        return sorted({op.name for op in self.ops() if op.kind in kinds})


# ---- operations as text; {n} is the name, {o} the first of the others, {q} all others, {d} the digest ----

READS = {
    "file": 'seen.append(Path("{n}").read_text())',
    "optional": """\
try:
    seen.append(Path("{n}").read_text())
except FileNotFoundError:
    seen.append("no file")""",
    "folder": 'seen += sorted(os.listdir("{n}"))',
    "names": 'seen += sorted({{*os.listdir("{n}")}} & {{*{q}}})',
    "cat": 'seen.append(subprocess.run(["cat", "{n}"], capture_output=True, check=True).stdout)',
    "native": 'seen.append(read_natively("{n}"))',
    "table": 'seen += conn.execute("SELECT x FROM {n} ORDER BY x")',
    "attempt": """\
try:
    seen += conn.execute("SELECT x FROM {n} ORDER BY x")
except sqlite3.OperationalError:
    seen.append("no table")""",
    "tables": """\
names = [name for (name,) in conn.execute("SELECT name FROM sqlite_master ORDER BY name")]
seen += [name for name in names if name in {q}]""",
    "variable": 'seen.append(os.environ.get("{n}"))',
    "param": "seen.append(since)",
    "side": 'seen.append(Path("../side/{n}").read_text())',
    "constant": "seen.append({n}.X)",
    "lazy": """\
from src.lib import {n}
seen.append({n}.X)""",
    "plugin": 'seen.append(importlib.import_module("src.lib." + "{n}".lower()).X)',
    "cached": "seen.append({n}.value())",
    "imported": "seen.append({n}.DATA)",
}
WRITES = {
    "make": """\
conn.execute("DROP TABLE IF EXISTS {n}")
conn.execute("CREATE TABLE {n} (x)")
conn.execute("INSERT INTO {n} VALUES (?)", ({d},))""",
    "fill": """\
conn.execute("CREATE TABLE IF NOT EXISTS {n} (x)")
conn.execute("DELETE FROM {n}")
conn.execute("INSERT INTO {n} VALUES (?)", ({d},))""",
    "select": """\
conn.execute("DROP TABLE IF EXISTS {n}")
conn.execute("CREATE TABLE {n} AS SELECT x FROM {o}")
conn.execute("INSERT INTO {n} VALUES (?)", ({d},))""",
    "insert": 'conn.execute("INSERT INTO {n} VALUES (?)", ({d},))',
    "update": 'conn.execute("UPDATE {n} SET x = x || ?", ({d},))',
    "own": """\
conn.execute("DELETE FROM {n} WHERE x LIKE '{t}:%'")
conn.execute("INSERT INTO {n} VALUES (?)", ("{t}:" + {d},))""",
    "drop": 'conn.execute("DROP TABLE {n}")',
    "write": 'Path("{n}").write_text({d})',
    "replace": """\
Path("{n}.tmp").write_text({d})
os.replace("{n}.tmp", "{n}")""",
    "rewrite": 'Path("{n}").write_text(Path("{n}").read_text() + {d})',
    "extend": """\
with open("{n}", "a") as file:
    file.write({d})""",
    "log": """\
with open("{n}", "a") as file:
    file.write({d})""",
    "shell": 'subprocess.run(["sh", "-c", "echo " + {d} + " > {n}"], check=True)',
    "copy": 'subprocess.run(["cp", "{o}", "{n}"], check=True)',
    "remove": 'os.remove("{n}")',
    "outside": 'Path("../side/{n}").write_text({d})',
}
MODULES = ("constant", "lazy", "plugin", "cached", "imported")
READING_MODULES = ("cached", "imported")
MODULE_TEXTS = {
    "cached": """\
from functools import lru_cache
from pathlib import Path
X = {v}
@lru_cache
def value():
    return Path("data/{n}.txt").read_text() + str(X)
""",
    "imported": """\
from pathlib import Path
X = {v}
DATA = Path("data/{n}.txt").read_text() + str(X)
""",
}
TABLE_MAKERS = ("make", "fill", "select")
TABLE_CHANGERS = ("insert", "update", "own")
TABLE_READERS = ("table", "attempt", "tables", "select", "insert", "update", "own", "drop")
FILE_MAKERS = ("write", "replace", "shell", "copy")
FILE_CHANGERS = ("rewrite", "extend")
NATIVE_WRITERS = ("shell", "copy")
NATIVE_READERS = ("cat", "copy", "native")
PROCESSES = ("cat", "shell", "copy")

TOP = {
    "import importlib": ("importlib",),
    "import os": ("os.",),
    "import sqlite3": ("sqlite3.",),
    "import subprocess": ("subprocess.",),
    "import time": ("time.",),
    "from pathlib import Path": ("Path(",),
}
DIGEST = """
def digest(seen):
    return hashlib.sha1(repr(seen).encode()).hexdigest()[:8]
"""
READ_NATIVELY = """
def read_natively(name):
    libc = ctypes.CDLL(None)
    buffer = ctypes.create_string_buffer(100)
    fd = libc.open(name.encode(), 0)
    libc.read(fd, buffer, 100)
    libc.close(fd)
    return buffer.value
"""
GATE = """\
if os.path.exists("../fail-{t}"):
    raise RuntimeError("told to fail")
if os.path.exists("../hold-{t}"):
    os.mkdir("../held-{t}")
    time.sleep(60)
"""


def tool_text(tool: Tool, version: int, comments: int = 0, *, has_gate: bool = False) -> str:
    """The source of a tool. Versions differ in meaning, comments do not."""
    lines: list[str] = []
    for place in range(len(tool.ops) + 1):
        if has_gate and place == min(tool.gate, len(tool.ops)):
            lines += GATE.format(t=tool.name).splitlines()
        if place < len(tool.ops):
            lines += op_text(tool, tool.ops[place]).splitlines()
    body = "".join(f"    {line}\n" for line in lines)
    kinds = {op.kind for op in tool.ops}
    takes = ["conn"] * any(op.kind in (*TABLE_MAKERS, *TABLE_READERS) for op in tool.ops)
    takes += ["*", 'since="x"'] * ("param" in kinds)
    text = "# comment\n" * comments
    if "digest(" in body:
        text += "import hashlib\n"
    if "native" in kinds:
        text += "import ctypes\n"
    text += "".join(f"{line}\n" for line, (use,) in TOP.items() if use in body)
    modules = [op.name for op in tool.ops if op.kind in ("constant", *READING_MODULES)]
    text += "".join(f"from src.lib import {name}\n" for name in dict.fromkeys(modules))
    text += f'STAGE = "{tool.stage}"\n'
    if tool.after:
        text += f"AFTER = {tool.after!r}\n"
    if tool.keys:
        values: dict[str, object] = {"repeatable": True, "inputs": [], "outputs": []}
        text += f"ORCH = { ({key: values[key] for key in tool.keys})!r}\n"
    if "native" in kinds:
        text += READ_NATIVELY
    if "digest(" in body:
        text += DIGEST
    return f'{text}\ndef run({", ".join(takes)}):\n    seen = ["{tool.name}{version}"]\n{body}'


def op_text(tool: Tool, op: Op) -> str:
    template = READS.get(op.kind) or WRITES[op.kind]
    other = op.others[0] if op.others else ""
    return template.format(n=op.name, o=other, q=op.others, t=tool.name, d="digest(seen)")


def module_text(op: Op, version: int) -> str:
    return MODULE_TEXTS.get(op.kind, "X = {v}\n").format(n=op.name, v=version)


@dataclass
class State:
    """What the user has made of a world: versions of tools, modules and files; absent files have none."""

    versions: dict[str, int] = field(default_factory=dict)
    comments: dict[str, int] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)  # tools
    variables: dict[str, str] = field(default_factory=dict)
    since: str = ""

    def key(self) -> str:
        return repr(
            (
                sorted(self.versions.items()),
                sorted(self.absent),
                sorted(self.deleted),
                self.variables,
                self.since,
            )
        )


def world_files(world: World, state: State, gates: Collection[str]) -> Mapping[str, str]:
    """Every file that the user has written. Versions are those of `state`, 0 where it has none."""
    versions = state.versions
    files = {"orch.toml": f"stages = {list(STAGES)!r}\n", "out/": "", "data/in/": ""}
    for tool in world.tools:
        if tool.name in state.deleted:
            continue
        files[f"src/{tool.name}.py"] = tool_text(
            tool,
            versions.get(tool.name, 0),
            state.comments.get(tool.name, 0),
            has_gate=tool.name in gates,
        )
    modules = world.modules()
    if modules:
        files["src/lib/__init__.py"] = ""
    for op in modules:
        files[f"src/lib/{op.name}.py"] = module_text(op, versions.get(op.name, 0))
    for name in world.inputs():
        if name not in state.absent:
            files[name] = f"{versions.get(name, 0)}\n"
    return files


# ---- what a world may have ----

#: Kinds of operations and keys that a world may have: what every version of orch must get right, and the rest.
PLAIN = ("file", "table", "constant", "param", "make", "fill", "select", "write")
ALL = (
    *READS,
    *WRITES,
    "after",
    "reversed",
    "repeatable",
    "nothing",
    "drops",
    "fail",
    "kill",
    "resume",
    "delete",
)
TABLES = ("t", "u", "v", "w")
OUTPUTS = ("out/f.txt", "out/g.txt", "out/h.txt", "out/k.txt")
SIDE = ("s.txt", "r.txt")
