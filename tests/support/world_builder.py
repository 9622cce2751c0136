"""Makes random worlds, tool by tool in the order of a full run."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping

from tests.support.worlds import (
    FILE_CHANGERS,
    FILE_MAKERS,
    MODULES,
    NAMES,
    NATIVE_READERS,
    NATIVE_WRITERS,
    OUTPUTS,
    PROCESSES,
    READS,
    SIDE,
    STAGES,
    TABLE_CHANGERS,
    TABLE_MAKERS,
    TABLE_READERS,
    TABLES,
    WRITES,
    Op,
    Tool,
    World,
)


class Builder:
    """Makes one world, tool by tool in the order of a full run."""

    def __init__(self, chance: random.Random, kinds: Collection[str]) -> None:
        self.chance = chance
        self.kinds = [kind for kind in (*READS, *WRITES) if kind in kinds]
        self.extras = kinds
        self.tools: list[Tool] = []
        self.tables: dict[str, list[str]] = {}  # those that are there -> tools that wrote them
        self.files: dict[str, list[str]] = {}
        self.native: dict[
            str, list[str]
        ] = {}  # files and outside files -> tools that wrote them unseen
        self.gone: set[str] = set()
        self.module_kinds: dict[str, str] = {}
        self.readers: dict[str, list[str]] = {}  # table, file or folder -> tools that read it
        self.after: list[str] = []
        self.ops: list[Op] = []
        self.name = ""

    def build(self) -> World:
        number = self.chance.choice((2, 3, 3, 4, 4, 5, 6))
        stages = sorted(self.chance.choices(range(len(STAGES)), k=number))
        is_reversed = "reversed" in self.extras and self.chance.random() < 0.2
        names = list(NAMES[:number])
        if is_reversed:
            names.reverse()
        for place, name in enumerate(names):
            self._add_tool(name, STAGES[stages[place]], is_reversed=is_reversed)
        return World(tuple(self.tools))

    def _add_tool(self, name: str, stage: str, *, is_reversed: bool) -> None:
        self.name, self.ops, self.after = name, [], []
        earlier = {tool.name: tool for tool in self.tools}
        if is_reversed and self.tools and self.tools[-1].stage == stage:
            self.after.append(self.tools[-1].name)
        elif "after" in self.extras and self.tools and self.chance.random() < 0.2:
            self.after.append(self.chance.choice(self.tools).name)
        for _ in range(self.chance.choice((0, 1, 1, 2))):
            self._add_op([kind for kind in self.kinds if kind in READS], stage, earlier)
        for _ in range(self.chance.choice((0, 1, 1, 1, 2))):
            self._add_op([kind for kind in self.kinds if kind in WRITES], stage, earlier)
        if self.chance.random() < 0.2:
            self._add_op([kind for kind in self.kinds if kind in READS], stage, earlier)
        ops = tuple(self.ops)
        after = tuple(dict.fromkeys(one for one in self.after if one != name))
        gate = self.chance.randint(0, len(ops))
        self.tools.append(Tool(name, stage, ops, after, self._keys(ops), gate))

    def _keys(self, ops: tuple[Op, ...]) -> tuple[str, ...]:
        found = []
        kinds = {op.kind for op in ops}
        if "repeatable" in self.extras and self.chance.random() < 0.5:
            read = {op.name for op in ops if op.kind in READS}
            own = {op.name for op in ops if op.kind == "own"}
            if own and not own & read and not kinds & {"insert", "update", "drop", *FILE_CHANGERS}:
                found.append("repeatable")
        if "nothing" in self.extras and self.chance.random() < 0.3:
            if not kinds & {*PROCESSES, "native", "side"}:
                found.append("inputs")
            if not kinds & {*NATIVE_WRITERS, "outside"}:
                found.append("outputs")
        return tuple(found)

    def _add_op(self, kinds: list[str], stage: str, earlier: Mapping[str, Tool]) -> None:
        kind = self.chance.choice(kinds) if kinds else ""
        op = self._find_op(kind)
        if op is None:
            return
        self.ops.append(op)
        touched = [op.name, *op.others]
        if kind == "names":
            touched = ["out", *(f"out/{name}" for name in op.others)]
        for key in touched:
            writes = kind in WRITES and key == op.name
            if writes:
                for reader in (*self.readers.get(key, ()), *self._folder_readers(key)):
                    if reader in earlier and earlier[reader].stage == stage:
                        self.after.append(reader)
            if kind in READS or key in op.others or kind in (*TABLE_READERS, *FILE_CHANGERS):
                self.readers.setdefault(key, []).append(self.name)
            self.after += self.native.get(key, ())
            if kind in NATIVE_READERS:
                self.after += self.files.get(key, ())
        self._note_write(kind, op.name)

    def _folder_readers(self, key: str) -> list[str]:
        if key.startswith("out/"):
            return self.readers.get("out", [])
        return [] if key.startswith("data/") else self.readers.get("every table", [])

    def _note_write(self, kind: str, name: str) -> None:
        if kind in (*TABLE_MAKERS, *TABLE_CHANGERS):
            self.tables.setdefault(name, []).append(self.name)
        elif kind in (*FILE_MAKERS, *FILE_CHANGERS):
            self.files.setdefault(name, []).append(self.name)
            if kind in NATIVE_WRITERS or name in self.native:
                self.native.setdefault(name, []).append(self.name)
        elif kind == "outside":
            self.native.setdefault(name, []).append(self.name)
        elif kind == "drop":
            del self.tables[name]
            self.gone.add(name)
        elif kind == "remove":
            del self.files[name]
            self.gone.add(name)

    def _find_op(self, kind: str) -> Op | None:
        """The operation with names that make sense for this tool, None where there are none."""
        chance, tables, files = self.chance, sorted(self.tables), sorted(self.files)
        if kind in ("file", "cat", "native"):
            return Op(kind, chance.choice(["data/x.txt", "data/y.txt", *files, *files]))
        if kind == "optional":
            return Op(kind, chance.choice(["data/maybe.txt", *sorted(self.gone & {*OUTPUTS})]))
        if kind == "folder":
            return Op(kind, "data/in")
        if kind == "names":
            return Op(kind, "out", (*(name.removeprefix("out/") for name in files), "none.txt"))
        if kind in ("table", "update", "insert", "own", "drop"):
            changed = {op.name for op in self.ops if op.kind in WRITES}
            free = [one for one in tables if kind == "table" or one not in changed]
            return Op(kind, chance.choice(free)) if free else None
        if kind == "attempt":
            return Op(kind, chance.choice([*tables, *sorted(self.gone & {*TABLES}), "missing"]))
        if kind == "tables":
            self.readers.setdefault("every table", []).append(self.name)
            return Op(kind, "", (*tables, "missing"))
        if kind in MODULES:
            name = chance.choice(("m", "n", "o", "p"))
            return Op(self.module_kinds.setdefault(name, kind), name)
        if kind == "variable":
            return Op(kind, chance.choice(("REGION", "MODE")))
        if kind == "param":
            return Op(kind)
        if kind == "side":
            outside = [name for name in sorted(self.native) if name in SIDE]
            return Op(kind, chance.choice(outside)) if outside else None
        return self._find_maker(kind) if kind else None

    def _find_maker(self, kind: str) -> Op | None:
        chance = self.chance
        if kind in TABLE_MAKERS:
            new = [one for one in TABLES if one not in self.tables and one not in self.gone]
            if kind == "select":
                return (
                    Op(kind, new[0], (chance.choice(sorted(self.tables)),))
                    if self.tables and new
                    else None
                )
            return Op(kind, new[0]) if new else None
        if kind in FILE_MAKERS:
            new = [one for one in OUTPUTS if one not in self.files and one not in self.gone]
            if not new:
                return None
            if kind == "copy":
                return Op(kind, new[0], (chance.choice(["data/x.txt", *sorted(self.files)]),))
            return Op(kind, new[0])
        if kind in (*FILE_CHANGERS, "remove"):
            mine = {op.name for op in self.ops}
            known = [one for one in sorted(self.files) if one not in self.native]
            free = [one for one in known if one not in mine]
            return Op(kind, chance.choice(free)) if free else None
        if kind == "log":
            return Op(kind, f"out/{chance.choice(('run', self.name))}.log")
        if kind == "outside":
            new = [one for one in SIDE if one not in self.native]
            return Op(kind, new[0]) if new else None
        raise AssertionError(kind)


def random_world(chance: random.Random, kinds: Collection[str]) -> World:
    return Builder(chance, kinds).build()
