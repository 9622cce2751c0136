"""Random pipelines and histories in a model world: what is called fresh is as a run from scratch would leave it.

Tools read, write, update and remove files and tables, list the files, and exchange things that orch does not see. Each
value is made of all that the tool used, so that a result which is out of date differs from one made from scratch.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pytest

from discover_orch.staleness.compare import (
    Upstream,
    compare,
    find_disturbed,
    find_overwritten,
)
from discover_orch.staleness.fingerprint import (
    ABSENT,
    EXISTS,
    Inputs,
    Key,
    Success,
    ToolResult,
    Write,
    Writer,
    add_failure,
    add_success,
    cut_off,
    find_writers,
    is_same_code,
    join_paths,
)

FILES = tuple(f"file:f{number}" for number in range(4))
TABLES = tuple(f"table:1:t{number}" for number in range(2))
GIVEN = ("file:in0", "file:in1")
KINDS = (
    "read",
    "read",
    "read",
    "write",
    "write",
    "update",
    "merge",
    "remove",
    "list",
    "unseen read",
    "unseen write",
)


@dataclass(frozen=True)
class Op:
    kind: str
    key: Key


@dataclass
class Tool:
    ops: tuple[Op, ...]
    stage: int
    after: frozenset[int]
    is_repeatable: bool
    code: int = 0
    ends: str = "passed"  # how an attempt ends


@dataclass
class Data:
    """The user's world: the value of each key, and of each file a state that changes whenever it is written."""

    values: dict[Key, str] = field(default_factory=dict)
    states: dict[Key, str] = field(default_factory=dict)
    count: int = 0

    def put(self, key: Key, value: str | None) -> None:
        self.count += 1
        if value is None:
            self.values.pop(key, None)
            self.states.pop(key, None)
        else:
            self.values[key] = value
            self.states[key] = str(self.count)


@dataclass
class Flow:
    """What a tool was seen to use in its last attempt."""

    read: set[Key] = field(default_factory=set)
    written: set[Key] = field(default_factory=set)
    lists: bool = False


class World:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.data = Data()
        for key in GIVEN:
            self.data.put(key, "0")
        stage = 0
        self.tools: list[Tool] = []
        for place in range(self.random.randint(2, 6)):
            stage += self.random.random() < 0.4
            self.tools.append(self._make_tool(place, stage))
        # Names that later tools make do not count in a listing.
        for place, tool in enumerate(self.tools):
            later = set[Key]().union(*(_changed(one.ops) for one in self.tools[place + 1 :]))
            if not later.isdisjoint(FILES):
                tool.ops = tuple(op for op in tool.ops if op.kind != "list")
        self.results = [ToolResult(module=str(place)) for place in range(len(self.tools))]
        self.ends = ["never" for _ in self.tools]
        self.flows = [Flow() for _ in self.tools]
        self.run = 0
        self.log: list[str] = []

    def _make_tool(self, place: int, stage: int) -> Tool:
        ops = []
        for _ in range(self.random.randint(1, 4)):
            kind = self.random.choice(KINDS)
            if kind == "unseen write":
                key = f"unseen:{place}"
            elif kind == "unseen read":
                key = f"unseen:{self.random.randrange(place) if place else 0}"
            elif kind == "read":
                key = self.random.choice((*FILES, *TABLES, *GIVEN))
            else:
                key = self.random.choice((*FILES, *TABLES))
            ops.append(Op(kind, key))
        sees_all = not any(op.kind.startswith("unseen") for op in ops)
        after = (
            range(place)
            if not sees_all
            else self.random.sample(range(place), place and self.random.randint(0, 1))
        )
        is_plain = not any(
            op.kind in ("update", "merge", "remove", "list") or op.key in _read(ops) & _written(ops)
            for op in ops
        )
        return Tool(
            ops=tuple(ops),
            stage=stage,
            after=frozenset(after),
            is_repeatable=is_plain and self.random.random() < 0.3,
        )

    # What a tool does.

    def execute(
        self, place: int, data: Data, stop: int = 99
    ) -> tuple[Flow, dict[Key, str], dict[Key, str]]:
        """The flow, the versions that it used, and what it wrote (None for removed)."""
        tool = self.tools[place]
        flow, inputs = Flow(), dict[Key, str]()
        made = f"{place}.{tool.code}"
        before = dict(data.values)
        for number, op in enumerate(tool.ops[:stop]):
            value = data.values.get(op.key)
            match op.kind:
                case "read" | "unseen read":
                    made += f"<{value}"
                    if op.key not in flow.written and op.kind == "read":
                        flow.read.add(op.key)
                case "write":
                    data.put(op.key, _short(f"{made}|{number}"))
                    flow.written.add(op.key)
                case "update":
                    flow.read.add(op.key)
                    data.put(op.key, _short(f"{made}|{number}+{value}"))
                    flow.written.add(op.key)
                case "merge":  # writes only what differs
                    flow.read.add(op.key)
                    if value != (merged := _short(f"{made}|{number}")):
                        data.put(op.key, merged)
                        flow.written.add(op.key)
                case "remove":
                    data.put(op.key, None)
                    flow.written.add(op.key)
                case "list":
                    flow.lists = True
                    made += f"<{self.listing(data)}"
                case "unseen write":
                    data.put(op.key, _short(f"{made}|{number}"))
                case _:
                    raise AssertionError(op.kind)
        for key in flow.read - flow.written:
            if key.startswith("file:"):
                inputs[key] = before.get(key, ABSENT)
        if flow.lists:
            inputs["folder:."] = self.listing(data)
        marks = {key: self.mark(key, data) for key in flow.written}
        return flow, inputs, marks

    @staticmethod
    def listing(data: Data) -> str:
        return join_paths(key[5:] for key in data.values if key in FILES)

    @staticmethod
    def mark(key: Key, data: Data) -> str:
        if key.startswith("table:"):
            return EXISTS if key in data.values else ABSENT
        return data.states.get(key, ABSENT)

    # What orch does.

    @property
    def whole(self) -> list[bool]:
        return [not any(op.kind.startswith("unseen") for op in tool.ops) for tool in self.tools]

    def upstream(self, place: int) -> Iterator[tuple[int, bool]]:
        """The tools before it, and whether that is known by data flow alone."""
        me = self.flows[place]
        for other in range(place):
            them = self.flows[other]
            is_declared = other in self.tools[place].after
            is_unknown = self.tools[other].stage < self.tools[place].stage and (
                not (me.read or me.lists) or not them.written
            )
            is_flow = self.is_flow(other, place)
            if is_declared or is_unknown or is_flow:
                yield other, not (is_declared or is_unknown)

    def is_flow(self, other: int, place: int) -> bool:
        me, them = self.flows[place], self.flows[other]
        lists = me.lists and any(key.startswith("file:") for key in them.written)
        return lists or not them.written.isdisjoint(me.read | me.written)

    def stale(self) -> dict[int, str]:
        """The stale tools, with why."""
        writers = find_writers(enumerate(self.results))
        found: dict[int, str] = {}
        for place, result in enumerate(self.results):
            reasons = [] if self.ends[place] == "passed" else [self.ends[place]]
            if result.success is not None:
                upstream = [
                    Upstream(self.results[other], is_observed)
                    for other, is_observed in self.upstream(place)
                ]
                now = Inputs(
                    code={"x": str(self.tools[place].code)},
                    other={
                        key: self.version(key)
                        for key in result.success.inputs.other
                        if not key.startswith("table:")
                    },
                )
                reasons += map(
                    str,
                    compare(
                        result,
                        place,
                        now,
                        lambda key: self.mark(key, self.data),
                        writers,
                        upstream,
                        lambda: 0,
                        lambda: 0,
                        ignores_foreign=False,
                        is_declared=lambda _: False,
                    ),
                )
            if reasons:
                found[place] = reasons[0]
        return self.spread(found, writers)

    def spread(self, found: dict[int, str], writers: dict[Key, Writer]) -> dict[int, str]:
        pending = True
        while pending:
            pending = False
            for place in range(len(self.tools)):
                above = [other for other, _ in self.upstream(place) if other in found]
                if above and place not in found:
                    found[place] = f"upstream {above[0]}"
                    pending = True
            for place in [*found]:
                earlier = [self.results[o] for o in range(place) if self.is_flow(o, place)]
                again = find_overwritten(
                    self.results[place],
                    place,
                    earlier,
                    writers,
                    is_repeatable=self.tools[place].is_repeatable,
                )
                if self.ends[place] == "killed" and self.results[place].success is None:
                    earlier = self.results[:place]
                    again |= find_disturbed(earlier, writers, lambda key: self.mark(key, self.data))
                for module, one in again.items():
                    if int(module) not in found:
                        found[int(module)] = f"{one.key} is no longer as it left it"
                        pending = True
        return found

    def version(self, key: Key) -> str:
        if key == "folder:.":
            return self.listing(self.data)
        return self.data.values.get(key, ABSENT)

    def run_tools(self, places: Iterable[int]) -> None:
        self.run += 1
        count = 0
        for place in places:
            tool, result = self.tools[place], self.results[place]
            writers = find_writers(enumerate(self.results))
            began = self.run << 20 | (count := count + 1)
            before = Data(dict(self.data.values), dict(self.data.states), self.data.count)
            stop = 99 if tool.ends == "passed" else self.random.randint(0, 4)
            flow, inputs, marks = self.execute(place, self.data, stop)
            ended = self.run << 20 | (count := count + 1)
            code = {"x": str(tool.code)}
            tables = tuple(key for key in flow.read if key.startswith("table:"))
            if tool.ends != "passed":  # tables are rolled back
                for key in TABLES:
                    self.data.put(key, before.values.get(key))
                marks = {key: mark for key, mark in marks.items() if not key.startswith("table:")}
            used = Inputs(code=code, other=inputs)
            writes = {key: Write(ended, mark) for key, mark in marks.items()}
            if tool.ends != "passed":
                self.ends[place] = tool.ends
                is_killed = tool.ends == "killed"
                self.results[place] = (
                    cut_off(result, ended) if is_killed else add_failure(result, used, writes)
                )
                break
            success = Success(
                asof=began,
                ended=ended,
                inputs=used,
                tables=tables,
                is_whole=self.whole[place],
                marks={key: self.mark(key, self.data) for key in inputs},
            )
            self.results[place] = add_success(
                result,
                success,
                writes,
                place,
                writers,
                self.results[:place],
                is_there=lambda key: key in self.data.values,
                is_repeatable=tool.is_repeatable,
            )
            self.ends[place] = "passed"
            if result.success is not None and is_same_code(result.success.inputs, used):
                known = self.flows[place]
                flow = Flow(
                    flow.read | known.read, flow.written | known.written, flow.lists or known.lists
                )
            self.flows[place] = flow

    # What the user does.

    def step(self) -> None:
        kind = self.random.choice(
            ("edit", "edit", "input", "delete", "some", "failed", "killed", "full")
        )
        place = self.random.randrange(len(self.tools))
        self.log.append(f"{kind} {place}")
        match kind:
            case "edit":
                self.tools[place].code += 1
            case "input":
                self.data.put(self.random.choice(GIVEN), str(self.random.randint(0, 2)))
            case "delete":
                self.data.put(self.random.choice(FILES), None)
            case "some":
                count = self.random.randint(1, len(self.tools))
                self.run_tools(self.random.sample(range(len(self.tools)), count))
            case "failed" | "killed":
                self.tools[place].ends = kind
                self.run_tools([place] if self.random.random() < 0.5 else sorted(self.stale()))
                self.tools[place].ends = "passed"
            case "full":
                self.run_tools(range(len(self.tools)))
            case _:
                raise AssertionError(kind)

    def is_sound(self) -> bool:
        """Whether a full run gives the same as one from scratch, now and after one from scratch. That is the
        pipeline's own matter."""
        scratch = self.scratch()
        for values in (self.data.values, scratch):
            data = Data(dict(values), dict.fromkeys(values, "0"))
            for place in range(len(self.tools)):
                self.execute(place, data)
            if data.values != scratch:
                return False
        return True

    def scratch(self) -> dict[Key, str]:
        data = Data({key: self.data.values[key] for key in GIVEN if key in self.data.values})
        for place in range(len(self.tools)):
            self.execute(place, data)
        return data.values

    def report(self) -> str:
        tools = "\n".join(f"{number}: {tool}" for number, tool in enumerate(self.tools))
        return f"{tools}\n{self.log}\nnow {self.data.values}\nscratch {self.scratch()}\nresults {self.results}"


def _read(ops: Iterable[Op]) -> set[Key]:
    return {op.key for op in ops if op.kind in ("read", "unseen read")}


def _written(ops: Iterable[Op]) -> set[Key]:
    return {op.key for op in ops if op.kind in ("write", "unseen write")}


def _changed(ops: Iterable[Op]) -> set[Key]:
    return {op.key for op in ops if op.kind in ("write", "update", "merge", "remove")}


def _short(text: str) -> str:
    return f"{zlib.crc32(text.encode()):x}"


def settle(world: World) -> int:
    """Runs what is stale until nothing is; how often."""
    for number in range(1, 5):
        stale = world.stale()
        if not stale:
            return number - 1
        world.run_tools(sorted(stale))
    raise AssertionError(f"never settles: {world.stale()}\n{world.report()}")


def check(seed: int) -> int:
    world = World(seed)
    most = 0
    for _ in range(world.random.randint(1, 8)):
        world.step()
        if not world.is_sound():
            return most
        if world.random.random() < 0.6:
            most = max(most, settle(world))
            assert world.data.values == world.scratch(), world.report()
    world.run_tools(range(len(world.tools)))
    left = world.stale()
    assert not left, f"stale after a full run: {left}\n{world.report()}"
    return most


@pytest.mark.parametrize("start", range(0, 1000, 100))
def test_after_running_what_is_stale_all_is_as_from_scratch(start: int) -> None:
    for seed in range(start, start + 100):
        check(seed)
