"""After each change of a random history a watch has brought the results up to date, as a run from scratch would."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.editors import save
from tests.support.remembered import reasons
from tests.support.watching import SENTINEL, Watching, sentinel_text, watching

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

    def change(self, watch: Watching) -> str:
        what = self.chance.choice([*TOOLS, "in.csv", "helper", "box", "total.txt", "names.txt"])
        match what:
            case "in.csv":
                self.number = self.chance.randrange(1, 5)
                save(watch.root / "in.csv", str(self.number))
            case "helper":
                self.helper = self.chance.randrange(1, 5)
                save(watch.root / "src/helper.py", f"x = {self.helper}\n")
            case "box":
                name = self.chance.choice(["one", "two", "three"])
                self.box ^= {name}
                if name in self.box:
                    save(watch.root / "box" / name, "")
                else:
                    (watch.root / "box" / name).unlink()
            case "total.txt" | "names.txt" if self.chance.random() < 0.5:
                (watch.root / what).unlink()
            case "total.txt" | "names.txt":
                return "nothing"
            case _:
                self.factors[what] = self.chance.randrange(1, 5)
                save(watch.root / f"src/{what}.py", self.text(what))
        return what

    def results(self) -> dict[str, str]:
        factors = self.factors
        fixed = self.number * factors["load"] * 10 + factors["fix"]
        total = str(fixed * factors["total"] + self.helper)
        names = str(factors["names"]) + " ".join(sorted(self.box))
        return {"total.txt": total, "copy.txt": total, "names.txt": names}


def settle(watch: Watching, is_done: Callable[[], bool]) -> None:
    """Until a save of the sentinel runs the sentinel alone, and this is so: events may be late."""
    for number in itertools.count(len(watch.runs)):
        begun = len(watch.runs)
        save(watch.root / SENTINEL, sentinel_text(number))
        watch.until(lambda: watch.runs[-1].output.get("sentinel") == f"{number}\n", "the sentinel")  # noqa: B023
        watch.until_idle(watch.runs[-1].end)
        if [run.tools for run in watch.runs[begun:]] == [("sentinel",)] and is_done():
            return
        assert number < 30 + begun, watch.story()


def find_results(root: Path) -> dict[str, str]:
    names = ("total.txt", "copy.txt", "names.txt")
    return {name: (root / name).read_text() for name in names if (root / name).exists()}


@pytest.mark.parametrize("changes", [6, pytest.param(300, marks=pytest.mark.full)])
def test_after_each_change_nothing_is_stale_and_the_results_are_right(
    project: Project, orch: Orch, changes: int
) -> None:
    seed = random.randrange(10**6)
    world, story = World(random.Random(seed)), [f"seed {seed}"]
    stages = {"orch.toml": 'stages = ["s", "t", "zz_sentinel"]\n'}
    with watching(project({**stages, **world.files()})) as watch:
        for _ in range(changes):
            story.append(world.change(watch))
            settle(watch, lambda: find_results(watch.root) == world.results())
            assert find_results(watch.root) == world.results(), "\n".join(story)
            assert reasons(orch) == {}, "\n".join(story)
