"""The status that a watch keeps: it is the same as a new one after every change, and says what a change concerns."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from discover_orch.execution.request import Request
from discover_orch.planning import project_view
from discover_orch.planning.param_values import GivenParams
from discover_orch.planning.remaining_work import RemainingWork
from discover_orch.staleness import database_identity as current_database
from discover_orch.staleness.database_file import DatabaseStat, read_database
from discover_orch.staleness.live_status import Change
from discover_orch.staleness.memory import Memory
from discover_orch.watch.watched_project import WatchedProject, WatchRequest
from tests.conftest import Orch, Project
from tests.support.project_builder import write_files

LIB = "src/lib.py"
FILES = {
    "orch.toml": "stages = ['s', 't']\n",
    "in.csv": "1",
    "box/one": "",
    LIB: "x = 1\n",
    "src/a.py": "from src import lib\nSTAGE = 's'\ndef run(): open('a.txt', 'w').write(open('in.csv').read())\n",
    "src/b.py": "import os\nSTAGE = 's'\nORCH = {'outputs': []}\ndef run(): os.listdir('box')\n",
    "src/c.py": "STAGE = 't'\nORCH = {'outputs': []}\ndef run():\n    open('a.txt').read()\n",
    "src/d.py": "STAGE = 't'\nORCH = {'inputs': 'raw/*.csv', 'outputs': []}\ndef run(*, since: str = 'x'): pass\n",
}  # fmt: skip


class Live:
    """A project that is watched, and its status."""

    def __init__(self, root: Path) -> None:
        self.root = root
        request = Request(values=GivenParams(folder=str(root)))
        self.watched = WatchedProject(
            WatchRequest(start=str(root), folder=None, request=request), {}
        )

    def save(self, files: Mapping[str, str | None]) -> Change:
        """What it means that these files are saved; None removes one."""
        for name, text in files.items():
            if text is None:
                (self.root / name).unlink()
            else:
                write_files(self.root, {name: text})
        return self.refresh(*files)

    def refresh(self, *paths: str) -> Change:
        return self.watched.refresh(self.watched.files.resolve(["", *paths]))

    def note(self, *names: str) -> Change:
        """These tools have just ended. What it means that files have changed meanwhile."""
        self.watched.note_run([f"src.{name}" for name in names])
        return self.refresh()

    @property
    def states(self) -> dict[str, tuple[str, ...]]:
        """The sentences of each stale tool."""
        return {
            module.removeprefix("src."): one.sentences
            for module, one in self.watched.status.freshness().items()
            if not one.is_fresh
        }


def names(change: Change) -> dict[str, str]:
    return {module.removeprefix("src."): why for module, why in change.touched.items()}


@pytest.fixture
def live(project: Project, orch: Orch) -> Live:
    """All tools have just succeeded."""
    root = project(FILES)
    assert orch("run").code == 0
    made = Live(root)
    assert made.states == {}
    return made


# What a change concerns.


def test_a_module_that_is_only_no_longer_or_newly_imported_has_not_changed(live: Live) -> None:
    change = live.save({"src/a.py": FILES["src/a.py"].replace("from src import lib\n", "")})
    assert (change.paths, names(change)) == (("src/a.py",), {"a": "src/a.py changed"})
    assert live.save({"src/a.py": FILES["src/a.py"]}).paths == ("src/a.py",)
    assert live.save({"src/a.py": None}).paths == ("src/a.py",)
    assert live.save({LIB: None}).paths == (LIB,)


def test_a_module_that_cannot_be_read_counts_as_it_last_could_be(live: Live) -> None:
    status = live.watched.status
    assert names(live.save({LIB: "x = (\n"})) == {}
    assert ([*status.broken], live.states) == ([LIB], {})
    assert [name for name in "abcd" if status.is_held(f"src.{name}")] == ["a"]
    assert names(live.save({LIB: "x = 1\n"})) == {}
    assert not status.broken
    live.save({LIB: "x = (\n"})
    assert names(live.save({LIB: "x = 3\n"})) == {"a": "src/lib.py changed"}


# Tools that end.


def test_what_a_failed_tool_has_read_counts_from_then_on(project: Project, orch: Orch) -> None:
    reads = "STAGE = 's'\ndef run(): assert open('in.csv').read() == '2'\n"
    root = project({"orch.toml": "", "in.csv": "1", "src/a.py": reads})
    assert orch("run").code == 1
    live = Live(root)
    assert names(live.save({"in.csv": "2"})) == {"a": "in.csv changed"}
    assert orch("run").code == 0
    live.note("a")
    assert live.states == {}


def test_what_becomes_known_of_an_attempt_later_is_no_other_attempt(live: Live) -> None:
    assert [*names(live.save({"in.csv": "2"}))] == ["a"]
    memory = Memory(str(live.root))
    result = memory.results(["src.a"])["src.a"]
    assert result.success is not None
    memory.write(replace(result, success=replace(result.success, duration=9.0)))
    live.note("a")
    assert names(live.save({"in.csv": "2"})) == {}


def test_what_a_tool_came_to_read_is_watched_though_files_have_changed_meanwhile(
    live: Live, orch: Orch
) -> None:
    write_files(live.root, {"more.csv": "1"})
    live.save({"src/c.py": FILES["src/c.py"] + "    open('more.csv').read()\n"})
    assert orch("run", "c").code == 0
    live.watched.status.note_results(Memory(str(live.root)).results(["src.c"]).values())
    live.save({LIB: "x = 2\n"})
    live.note("c")
    assert "more.csv" in live.watched.files.paths.data


# Other tools, another configuration.


def test_a_new_tool_is_touched_and_one_that_comes_back_only_if_it_is_stale(live: Live) -> None:
    text = FILES["src/c.py"]
    assert names(live.save({"src/e.py": text})) == {"e": "src/e.py is new"}
    change = live.save({"src/c.py": None})
    assert (change.gone, change.is_structural) == (("c",), True)
    assert "src.c" not in live.watched.targets
    assert names(live.save({"src/c.py": text})) == {}
    live.save({"src/c.py": None})
    assert list(names(live.save({"src/c.py": f"{text}y = 1\n"}))) == ["c"]


def test_a_tool_that_comes_back_below_a_stale_one_is_touched(live: Live) -> None:
    """A run that is making anew what it needs does not know of it."""
    live.save({"src/c.py": None})
    assert list(names(live.save({"in.csv": "2"}))) == ["a"]
    assert names(live.save({"src/c.py": FILES["src/c.py"]})) == {"c": "upstream a is stale (a.txt)"}


def test_the_maker_of_a_table_is_touched_when_a_tool_that_wrote_into_it_is_deleted(
    project: Project, orch: Orch
) -> None:
    fills = "conn.execute('DROP TABLE IF EXISTS t'); conn.execute('CREATE TABLE t (x)')"
    root = project(
        {
            "src/a.py": f"STAGE = 's'\ndef run(conn): {fills}\n",
            "src/b.py": "STAGE = 't'\ndef run(conn): conn.execute('INSERT INTO t VALUES (1)')\n",
        }
    )
    assert orch("run").code == 0
    change = Live(root).save({"src/b.py": None})
    assert change.gone == ("b",)
    assert "no longer a tool" in change.touched["src.a"]


def test_a_change_during_a_run_does_not_open_the_database(
    project: Project, orch: Orch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel would show it to a tool with a child process as if that had opened it."""
    root = project({"src/a.py": "STAGE = 's'\ndef run(conn): conn.execute('CREATE TABLE t (x)')\n"})
    assert orch("run").code == 0
    live, opened = Live(root), list[str]()
    assert live.states == {}

    def read(root: str, path: str) -> DatabaseStat | None:
        opened.append(path)
        return read_database(root, path)

    monkeypatch.setattr(current_database, "read_database", read)
    for is_running in (True, False):
        live.watched.status.is_running = is_running
        opened.clear()
        assert live.save({"src/a.py": (root / "src/a.py").read_text() + "X = 1\n"}).touched
        assert ("a" in live.states, "data.db" in opened) == (True, not is_running)


# It is the same as a new one.

TEXTS: Mapping[str, tuple[str | None, ...]] = {
    "in.csv": ("1", "2", "3", None),
    "box/one": ("", None),
    "box/two": ("", None),
    "raw/x.csv": ("1", "2", None),
    "raw/y.csv": ("1", None),
    "a.txt": ("1", "by hand", None),
    LIB: ("x = 1\n", "x = 2\n", "x = 1  # one\n", "from src import more\n", None),
    "src/more.py": ("y = 1\n", "y = 2\n", None),
    "src/e.py": ("STAGE = 't'\nimport src.more\ndef run(): pass\n", None),
    "src/d.py": (FILES["src/d.py"], FILES["src/d.py"].replace("'x'", "'y'")),
    "orch.toml": (FILES["orch.toml"], f"{FILES['orch.toml']}[params.d]\nsince = '2'\n"),
}


def fresh_answer(root: Path) -> dict[str, tuple[str, ...]]:
    """What `orch status` says."""
    view = project_view.read_project(str(root), str(root), {})
    work = RemainingWork(view, GivenParams(folder=str(root)))
    return {
        module.removeprefix("src."): one.sentences
        for module, one in work.freshness().items()
        if not one.is_fresh
    }


def step(live: Live, chance: random.Random, orch: Orch) -> str:
    """Something happens: files are saved, or tools run."""
    if chance.random() < 0.3:
        words = chance.choice([(), ("--changed",), ("a",), ("c",), ("d", "b")])
        orch("run", *words)
        live.note(*"abcde")
        return f"run {words}"
    name = chance.choice([*TEXTS])
    text = chance.choice(TEXTS[name])
    path = live.root / name
    if text is None:
        path.unlink(missing_ok=True)
    else:
        write_files(live.root, {name: text})
        os.utime(path, ns=(time.time_ns(), time.time_ns()))
    live.refresh(name)
    return f"{name} = {text!r}"


@pytest.mark.parametrize("seeds", [2, pytest.param(200, marks=pytest.mark.full)])
def test_after_each_step_of_a_random_history_it_says_what_a_new_status_does(
    project: Callable[..., Path], orch: Orch, seeds: int
) -> None:
    for _ in range(seeds):
        seed = random.randrange(10**6)
        chance = random.Random(seed)
        root = project(FILES)
        live, story = Live(root), [f"seed {seed}"]
        for _ in range(12):
            story.append(step(live, chance, orch))
            assert live.states == fresh_answer(root), "\n".join(story)
