"""Random histories of a pipeline whose files are traced: what a user edits and runs, as data that can be shrunk."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.support.traced_worlds import (
    LISTED,
    NOTES,
    OPTIONAL,
    RAW,
    State,
    World,
    declare,
    random_world,
)


@dataclass(frozen=True)
class Step:
    """`kind` is `run` (of one tool), `check`, `foreign` (a check during which another program writes the file `name`),
    or what happens to the file or tool `name`."""

    kind: str
    name: str = ""
    jobs: int = 1
    at: int = 0  # how much another program reads before it writes


@dataclass(frozen=True)
class History:
    world: World
    steps: tuple[Step, ...]
    first_jobs: int = 1


def random_history(seed: int) -> History:
    chance = random.Random(seed)
    world = random_world(chance)
    steps: list[Step] = []
    for _ in range(chance.choice((2, 3, 4))):
        steps += [random_edit(chance, world) for _ in range(chance.choice((0, 1, 1, 2, 3)))]
        if chance.random() < 0.2:
            steps.append(Step("run", chance.choice(world.tools).name, chance.choice((1, 4))))
        if chance.random() < 0.25:
            name = chance.choice((*RAW, *OPTIONAL, *LISTED[1:]))
            steps.append(Step("foreign", name, chance.choice((1, 4)), chance.randrange(300)))
        else:
            steps.append(Step("check", jobs=chance.choice((1, 4))))
    return History(world, tuple(steps), chance.choice((1, 4)))


def random_declared_history(seed: int) -> History:
    history = random_history(seed)
    return replace(history, world=declare(history.world))


def random_edit(chance: random.Random, world: World) -> Step:
    tools = [tool.name for tool in world.tools]
    outputs = world.outputs()
    kind, names = chance.choice(
        [
            *[("edit", [*RAW, *OPTIONAL, *LISTED])] * 4,
            *[("toggle", [*OPTIONAL, *LISTED[1:]])] * 3,
            *[("edit", tools)] * 2,
            ("comment", tools),
            ("edit", [*NOTES]),
            ("append", outputs),
            ("same size", outputs),
            ("remove", outputs),
            ("touch", [*outputs, *RAW]),
            ("rewrite", outputs),
        ]
    )
    return Step(kind, chance.choice(names))


def change(state: State, step: Step) -> None:
    """What a step does to what belongs to the user."""
    if step.kind in ("edit", "foreign"):
        state.versions[step.name] = state.versions.get(step.name, 0) + 1
    if step.kind == "foreign":
        state.absent.discard(step.name)
    elif step.kind == "comment":
        state.comments[step.name] = state.comments.get(step.name, 0) + 1
    elif step.kind == "toggle":
        state.absent ^= {step.name}


def smaller(history: History) -> Iterator[History]:
    world, steps = history.world, history.steps
    for place in range(len(steps)):
        yield replace(history, steps=steps[:place] + steps[place + 1 :])
    if history.first_jobs > 1 or any(step.jobs > 1 for step in steps):
        yield replace(history, first_jobs=1, steps=tuple(replace(step, jobs=1) for step in steps))
    for tool in world.tools:
        if any(step.name == tool.name or step.name in tool.paths(("write",)) for step in steps):
            continue
        rest = tuple(
            replace(one, after=one.after and tuple(name for name in one.after if name != tool.name))
            for one in world.tools
            if one is not tool
        )
        made = {path for one in rest for path in one.paths(("write", "split"))}
        used = {path for one in rest for path in one.paths(("read", "update", "list"))}
        if rest and all(path in made for path in used if path.startswith("out/")):
            yield replace(history, world=World(rest))
    for place, tool in enumerate(world.tools):
        for number in range(len(tool.ops)):
            if tool.ops[number].kind in ("write", "split"):
                continue
            variant = replace(tool, ops=tool.ops[:number] + tool.ops[number + 1 :])
            yield replace(
                history, world=World((*world.tools[:place], variant, *world.tools[place + 1 :]))
            )


def story(history: History) -> str:
    """What was done, line by line."""
    lines = [f"orch run --jobs {history.first_jobs}"]
    for step in history.steps:
        if step.kind == "run":
            lines.append(f"orch run {step.name} --jobs {step.jobs}")
        elif step.kind == "check":
            lines.append(
                f"orch run --changed --jobs {step.jobs}   # must be as a copy run from scratch"
            )
        elif step.kind == "foreign":
            lines.append(
                f"orch run --changed --jobs {step.jobs} & another program writes {step.name}; "
                "orch run --changed   # must be as a copy run from scratch"
            )
        else:
            lines.append(f"{step.kind} {step.name}")
    return "\n".join(lines)
