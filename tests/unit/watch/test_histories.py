"""After each change of a random history a watch has brought the results up to date, as a run from scratch would."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from discover_orch.planning import project_reader
from discover_orch.planning.incremental import RemainingWork
from discover_orch.planning.param_values import GivenParams
from tests.support.editors import save
from tests.support.watched import SENTINEL, Watch, Watched, tool

#: `load` makes a table of a file, `fix` updates it in place, `total` writes what is in it to a file, `copy` copies the
#: file by a child process, and `names` lists a folder.
TOOLS = {
    "load": """
STAGE = "s"
FACTOR = {factor}
def run(conn):
    conn.execute("DROP TABLE IF EXISTS raw")
    conn.execute("CREATE TABLE raw (x)")
    conn.execute("INSERT INTO raw VALUES (?)", (int(open("in.csv").read()) * FACTOR,))
""",
    "fix": """
STAGE = "s"
AFTER = "load"
FACTOR = {factor}
def run(conn):
    conn.execute("UPDATE raw SET x = x * 10 + ?", (FACTOR,))
""",
    "total": """
from src import helper
STAGE = "t"
FACTOR = {factor}
def run(conn):
    ((found,),) = conn.execute("SELECT sum(x) FROM raw")
    open("total.txt", "w").write(str(found * FACTOR + helper.x))
""",
    "copy": """
import subprocess
STAGE = "t"
AFTER = "total"
FACTOR = {factor}
def run():
    subprocess.run(["cp", "total.txt", "copy.txt"], check=True)
    open("copy.log", "a").write("x")
""",
    "names": """
import os
STAGE = "t"
AFTER = ()
FACTOR = {factor}
def run():
    open("names.txt", "w").write(str(FACTOR) + " ".join(sorted(os.listdir("box"))))
""",
}


class World:
    """What the user has written, and what follows from it."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.factors = dict.fromkeys(TOOLS, 1)
        self.number = self.helper = 1
        self.box = {"one"}

    def files(self) -> dict[str, str]:
        tools = {f"src/{name}.py": self.text(name) for name in TOOLS}
        return {**tools, "in.csv": "1", "src/helper.py": "x = 1\n", "box/one": ""}

    def text(self, name: str) -> str:
        return TOOLS[name].format(factor=self.factors[name])

    def change(self, watched: Watched) -> str:
        what = self.chance.choice([*TOOLS, "in.csv", "helper", "box", "total.txt", "names.txt"])
        match what:
            case "in.csv":
                self.number = self.chance.randrange(1, 5)
                save(watched.root / "in.csv", str(self.number))
            case "helper":
                self.helper = self.chance.randrange(1, 5)
                save(watched.root / "src/helper.py", f"x = {self.helper}\n")
            case "box":
                name = self.chance.choice(["one", "two", "three"])
                self.box ^= {name}
                if name in self.box:
                    save(watched.root / "box" / name, "")
                else:
                    (watched.root / "box" / name).unlink()
            case "total.txt" | "names.txt" if self.chance.random() < 0.5:
                (watched.root / what).unlink()
            case "total.txt" | "names.txt":
                return "nothing"
            case _:
                self.factors[what] = self.chance.randrange(1, 5)
                save(watched.root / f"src/{what}.py", self.text(what))
        return what

    def results(self) -> dict[str, str]:
        factors = self.factors
        fixed = self.number * factors["load"] * 10 + factors["fix"]
        total = str(fixed * factors["total"] + self.helper)
        names = str(factors["names"]) + " ".join(sorted(self.box))
        return {"total.txt": total, "copy.txt": total, "names.txt": names}


def settle(watched: Watched, is_done: Callable[[], bool]) -> None:
    """Until a save of the sentinel runs the sentinel alone, and this is so: events may be late."""
    for _ in range(30):
        save(watched.root / SENTINEL, tool(f"after {len(watched.runs)} runs", stage="zz"))
        if [run.tools for run in watched.until_idle()] == [("sentinel",)] and is_done():
            return


def find_results(root: Path) -> dict[str, str]:
    names = ("total.txt", "copy.txt", "names.txt")
    return {name: (root / name).read_text() for name in names if (root / name).exists()}


def find_stale(root: Path) -> dict[str, tuple[str, ...]]:
    """What `orch status` says."""
    view = project_reader.read_project(str(root), str(root), {})
    work = RemainingWork(view.project, view.registry, GivenParams(folder=str(root)))
    found = work.freshness().items()
    return {module: one.sentences for module, one in found if not one.is_fresh}


@pytest.mark.parametrize("changes", [6, pytest.param(300, marks=pytest.mark.full)])
def test_after_each_change_nothing_is_stale_and_the_results_are_right(
    watch: Watch, changes: int
) -> None:
    seed = random.randrange(10**6)
    world, story = World(random.Random(seed)), [f"seed {seed}"]
    watched = watch(
        {**dict.fromkeys(("src/a.py", "src/b.py", "src/c.py"), ""), **world.files()},
        scope="affected",
    )
    for _ in range(changes):
        story.append(world.change(watched))
        settle(watched, lambda: find_results(watched.root) == world.results())
        assert find_results(watched.root) == world.results(), "\n".join(story)
        assert find_stale(watched.root) == {}, "\n".join(story)
