"""Random histories of a world: what a user edits and runs, as data that can be shrunk and printed as commands."""

from __future__ import annotations

import random
import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from tests.support.world_builder import random_world
from tests.support.worlds import (
    ALL,
    FILE_MAKERS,
    NATIVE_WRITERS,
    TABLE_MAKERS,
    State,
    World,
    world_files,
)


@dataclass(frozen=True)
class Step:
    """`words` are targets of a run; `tool` is the one that fails or is killed in it, as `end` says."""

    kind: str
    name: str = ""
    words: tuple[str, ...] = ()
    end: str = ""
    tool: str = ""


@dataclass(frozen=True)
class History:
    world: World
    steps: tuple[Step, ...]

    def gates(self) -> set[str]:
        return {step.tool for step in self.steps if step.tool}


# ---- random histories ----


def random_history(seed: int, kinds: Collection[str] = ALL) -> History:
    chance = random.Random(seed)
    world = random_world(chance, kinds)
    steps: list[Step] = []
    if chance.random() < 0.9:
        steps.append(Step("run"))
    for _ in range(chance.choice((1, 2, 3, 4))):
        number = chance.choice((0, 1, 1, 1, 2, 3))
        steps += [random_change(chance, world, kinds) for _ in range(number)]
        while chance.random() < 0.4:
            steps.append(random_run(chance, world, kinds))
        steps.append(Step("check"))
    if "delete" in kinds and world.deletable() and (chance := random.Random(~seed)).random() < 0.3:
        return delete_somewhere(chance, History(world, tuple(steps)))
    return History(world, tuple(steps))


def delete_somewhere(chance: random.Random, history: History) -> History:
    """The same history with a tool deleted at some time, and perhaps restored at a later one."""
    name = chance.choice(history.world.deletable())
    places = sorted(chance.choices(range(len(history.steps)), k=chance.choice((1, 1, 2))))
    steps: list[Step] = []
    is_deleted = False
    for place, step in enumerate(history.steps):
        for _ in range(places.count(place)):
            steps.append(Step("delete", name))
            is_deleted = not is_deleted
        if is_deleted and step.tool == name:
            step = replace(step, end="", tool="")
        if is_deleted and name in step.words:
            step = replace(step, words=tuple(word for word in step.words if word != name))
        steps.append(step)
    return replace(history, steps=tuple(steps))


def random_change(chance: random.Random, world: World, kinds: Collection[str]) -> Step:
    tools = [tool.name for tool in world.tools]
    choices = [("edit", tools)] * 4 + [("comment", tools)]
    modules = [op.name for op in world.modules()]
    choices += [("edit", modules)] * 2
    inputs = world.inputs()
    choices += [("edit", inputs)] * 2
    absent = [name for name in inputs if name.startswith("data/maybe") or "/in/" in name]
    choices += [("toggle", absent)] * 2
    choices += [("variable", world.variables())] * 2
    if any(op.kind == "param" for op in world.ops()):
        choices += [("param", ["", "y"])]
    python_made = set(FILE_MAKERS) - set(NATIVE_WRITERS)
    choices += [("remove", world.written(python_made))] * 2
    if "drops" in kinds and world.written(TABLE_MAKERS):
        choices += [("remove", ["data.db"]), ("drop", world.written(TABLE_MAKERS))]
    kind, names = chance.choice([one for one in choices if one[1]])
    return Step(kind, chance.choice(names))


def random_run(chance: random.Random, world: World, kinds: Collection[str]) -> Step:
    tools = [tool.name for tool in world.tools]
    end = chance.choice(("", "", *sorted({"fail", "kill"} & {*kinds})))
    tool = chance.choice(tools) if end else ""
    kind = chance.choice(("run", "run", "changed", *(["resume"] * ("resume" in kinds))))
    words: tuple[str, ...] = ()
    if kind == "run" and chance.random() < 0.7:
        words = tuple(chance.sample(tools, chance.choice((1, 1, 2, min(3, len(tools))))))
        if tool and tool not in words:
            tool = chance.choice(words)
    return Step(kind, words=words, end=end, tool=tool)


# ---- what a step changes, smaller histories, and a history as text ----


def change(state: State, step: Step) -> None:
    if step.kind == "edit":
        state.versions[step.name] = state.versions.get(step.name, 0) + 1
    elif step.kind == "comment":
        state.comments[step.name] = state.comments.get(step.name, 0) + 1
    elif step.kind == "toggle":
        state.absent ^= {step.name}
    elif step.kind == "delete":
        state.deleted ^= {step.name}
    elif step.kind == "variable":
        now = state.variables.pop(step.name, "")
        if now != "eu":
            state.variables[step.name] = "eu" if not now else "us"
    elif step.kind == "param":
        state.since = step.name


def smaller(history: History) -> Iterator[History]:
    world, steps = history.world, history.steps
    for place in range(len(steps)):
        yield replace(history, steps=steps[:place] + steps[place + 1 :])
    for tool in world.tools:
        if any(tool.name in (step.name, step.tool, *step.words) for step in steps):
            continue
        rest = tuple(
            replace(one, after=tuple(name for name in one.after if name != tool.name))
            for one in world.tools
            if one is not tool
        )
        if rest:
            yield replace(history, world=World(rest))
    for place, tool in enumerate(world.tools):
        variants = [
            replace(tool, ops=tool.ops[:number] + tool.ops[number + 1 :])
            for number in range(len(tool.ops))
        ]
        variants += [replace(tool, after=tool.after[1:])] * bool(tool.after)
        variants += [replace(tool, keys=tool.keys[1:])] * bool(tool.keys)
        for variant in variants:
            tools = (*world.tools[:place], variant, *world.tools[place + 1 :])
            yield replace(history, world=World(tools))
    for place, step in enumerate(steps):
        if step.end:
            changed = replace(step, end="", tool="")
            yield replace(history, steps=(*steps[:place], changed, *steps[place + 1 :]))


def script(history: History) -> str:
    """The history as commands of a shell."""
    state = State()
    lines = [
        "cd $(mktemp -d); mkdir -p project/out project/data/in project/src/lib side; cd project"
    ]
    written: dict[str, str] = {}

    def write() -> None:
        now = world_files(history.world, state, history.gates())
        for name, text in now.items():
            if not name.endswith("/") and written.get(name) != text:
                lines.append(f"cat > {name} <<'EOF'\n{text}EOF")
        lines.extend(f"rm {name}" for name in written if name not in now)
        written.clear()
        written.update({name: text for name, text in now.items() if not name.endswith("/")})

    write()
    for step in history.steps:
        prefix = "".join(f"{name}={value} " for name, value in state.variables.items())
        if step.kind in ("run", "changed", "resume", "check"):
            words = {"run": step.words, "resume": ("--resume",)}.get(step.kind, ("--changed",))
            since = ["--since", state.since] if state.since and step.kind != "resume" else []
            line = f"{prefix}orch run {shlex.join([*words, *since])}".rstrip()
            if step.end == "fail":
                line = f"touch ../fail-{step.tool}; {line}; rm ../fail-{step.tool}"
            elif step.end == "kill":
                line = (
                    f"touch ../hold-{step.tool}; {line} & until [ -d ../held-{step.tool} ]; do sleep 0.1; done; "
                    f"kill -9 $!; rmdir ../held-{step.tool}; rm ../hold-{step.tool}"
                )
            lines.append(line)
            if step.kind == "check":
                lines.append(f"{prefix}orch status   # must be as a copy that is run from scratch")
        else:
            change(state, step)
            if step.kind == "remove":
                lines.append(f"rm -f {step.name}*")
            elif step.kind == "drop":
                lines.append(f'sqlite3 data.db "DROP TABLE IF EXISTS {step.name}"')
            elif step.kind in ("variable", "param"):
                lines.append(f"# {step.kind} {step.name}")
            write()
    return "\n".join(lines) + "\n"
