"""What tools depend on, and what is therefore watched, in real projects. Nothing is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from discover_orch.model.observation import Observation
from discover_orch.planning.plan import Plan
from discover_orch.planning.project_view import ProjectView
from discover_orch.staleness.import_graph import ImportGraph
from discover_orch.watch.observed_inputs import ObservedInputs
from discover_orch.watch.watch_set import WatchSet
from tests.conftest import Project
from tests.support.looked_at import BASE, DATA, request_for, tool
from tests.support.project_builder import write_files


class Surveyed:
    """A project and the survey of it."""

    def __init__(self, root: Path, *words: str) -> None:
        self.root = root
        self._request = request_for(root, *words)
        self.view, self.plan = self.read()
        self.observed_inputs = ObservedInputs(str(root))
        view = self.view
        self.watch_set = WatchSet(view.project, view.registry, self.plan, self.observed_inputs)

    def update(self) -> None:
        """After reading the whole project again."""
        self.view, self.plan = self.read()
        self.watch_set.update(self.view.project, self.view.registry, self.plan)

    def apply_observed(self, module: str, seen: Observation) -> frozenset[str]:
        """The tool was seen to do this."""
        self.observed_inputs.note_end(module, seen, has_passed=True)
        return self.watch_set.apply_observed(self.view.registry, self.plan)

    def read(self) -> tuple[ProjectView, Plan]:
        view = self._request.read_project({})
        return view, self._request.plan(view).plan


@pytest.fixture
def surveyed(project: Project) -> Surveyed:
    return Surveyed(project(BASE))


# How far tools reach.


def test_a_tool_depends_on_all_that_it_imports(surveyed: Surveyed) -> None:
    watch_set = surveyed.watch_set
    assert watch_set.reaches["src.a"].paths >= {"src/a.py", "src/lib/dates.py", "src/lib/deep.py"}
    tools = ("src.a", "src.b", "src.c", "src.nobody")
    assert [watch_set.depends_on(one, {"src/lib/deep.py"}) for one in tools] == [
        *(True, True, False, False),
    ]
    assert not watch_set.has_unread("src.a")


def test_who_takes_a_resource_depends_on_orchconf_and_its_imports(project: Project) -> None:
    watch_set = Surveyed(
        project(
            {
                "orch.toml": "",
                "orchconf.py": "from helpers.net import x\n",
                "helpers/net.py": "x = 1\n",
                "src/a.py": tool(takes="conn"),
                "src/b.py": tool(),
            }
        )
    ).watch_set
    assert watch_set.reaches["src.a"].paths >= {"src/a.py", "orchconf.py", "helpers/net.py"}
    assert watch_set.reaches["src.b"].paths == {"src/b.py"}


def test_an_affected_tool_has_the_path_that_did_it(surveyed: Surveyed) -> None:
    watch_set = surveyed.watch_set
    find = watch_set.find_affected
    assert find(["src/lib/dates.py"], watch_set.reaches, ["src.a", "src.b"]) == {
        "src.a": "src/lib/dates.py"
    }
    assert find(["src/lib/dates.py"], watch_set.reaches, ["src.b"]) == {}
    watch_set.note_loaded("src.c", ["src/c.py", "src/lib/other.py"])
    assert find(["src/lib/other.py"], watch_set.reaches, ["src.c"]) == {"src.c": "src/lib/other.py"}


def test_a_file_that_cannot_be_read_keeps_its_tool(surveyed: Surveyed) -> None:
    write_files(surveyed.root, {"src/a.py": "STAGE = (\n"})
    surveyed.view, surveyed.plan = surveyed.read()
    view = surveyed.view
    assert "src.a" not in view.registry.tools
    surveyed.watch_set.update(view.project, view.registry, surveyed.plan, keep=["src/a.py"])
    assert surveyed.watch_set.depends_on("src.a", {"src/lib/dates.py"})
    surveyed.watch_set.update(view.project, view.registry, surveyed.plan)
    assert "src.a" not in surveyed.watch_set.reaches


def test_a_tool_that_loaded_half_a_file_is_found(surveyed: Surveyed) -> None:
    watch_set = surveyed.watch_set
    source = watch_set.sources.read("src/lib/dates.py")
    assert source is not None
    modules = ["src.a", "src.b", "src.gone"]
    assert watch_set.find_half_written(modules, {source.path: source.hash}) == {}
    assert watch_set.find_half_written(modules, {source.path: "of half a file"}) == {
        "src.a": "src/lib/dates.py was being written while it ran"
    }
    watch_set.note_loaded("src.gone", ["src/lib/dates.py"])
    assert set(watch_set.find_half_written(modules, {source.path: "?"})) == {"src.a", "src.gone"}


def test_another_pythonpath_is_a_cold_start(surveyed: Surveyed) -> None:
    watch_set, before = surveyed.watch_set, surveyed.watch_set.snapshot
    code = watch_set.code
    surveyed.update()
    assert (watch_set.snapshot is before, watch_set.code is code) == (True, True)
    write_files(
        surveyed.root, {"orch.toml": BASE["orch.toml"] + "pythonpath = ['.', 'lib']\n", "lib/": ""}
    )
    surveyed.update()
    assert isinstance(watch_set.sources, ImportGraph)
    assert (watch_set.snapshot is before, watch_set.code is code) == (False, False)


# What is watched.


def test_what_is_code_and_what_is_data(project: Project) -> None:
    watch_set = Surveyed(project(DATA)).watch_set
    code = ["src/a.py", "orch.toml", "pyproject.toml", "orchconf.py", "wanted/"]
    assert [one for one in (*code, "in/x.csv", "rates.json") if watch_set.is_code(one)] == code


def test_it_names_the_folders_to_subscribe_to(project: Project) -> None:
    root = project(
        {
            "orch.toml": "pythonpath = ['.', 'lib']\n",
            "src/a.py": tool(
                top="from helpers import x\nORCH = {'inputs': ['in', 'rates/now.csv', 'more/*.json']}"
            ),
            "helpers/x.py": "",
            "in/a.csv": "",
            "lib/": "",
        }
    )
    deep, flat = Surveyed(root).watch_set.folders
    assert set(deep) == {"src", "helpers", "in"}
    assert {"", "lib", "rates"} <= set(flat)  # `more` is not there: its parent tells when it comes
    assert not set(deep) & set(flat)


def test_a_pattern_for_files_of_the_root_does_not_listen_to_all_below_it(project: Project) -> None:
    """Else every event of .git, .venv and node_modules counts, and each folder there needs a watch."""
    inputs = tool(top="ORCH = {'inputs': ['*.json', '.env']}")
    watch_set = Surveyed(
        project({"orch.toml": "", "src/a.py": inputs, ".venv/x.txt": ""})
    ).watch_set
    assert watch_set.folders == (("src",), ("",))
    assert watch_set.snapshot.is_relevant("rates.json", is_folder=False)
    assert not watch_set.snapshot.is_relevant(".venv/lib/x.txt", is_folder=False)


def test_folders_of_observed_inputs_are_subscribed_to(project: Project) -> None:
    made = Surveyed(project({"orch.toml": "", "src/a.py": tool(), "in/y.csv": "1"}))
    assert made.watch_set.folders == (("src",), ("",))
    seen = Observation(
        read=(("in/y.csv", 1, 1, 1),),
        missed=("more/deep/z",),
        listed=(("where", ""), (".", "")),
    )
    assert made.apply_observed("src.a", seen) == {"in/y.csv", "more/deep/z"}
    deep, flat = made.watch_set.folders
    assert (deep, set(flat)) == (("src",), {"", "in", "more/deep", "where"})
    assert made.watch_set.observed == (2, 2)
    assert made.apply_observed("src.a", seen) == frozenset()


def test_a_module_loaded_from_elsewhere_is_watched(surveyed: Surveyed) -> None:
    write_files(surveyed.root, {"late/h.py": "x = 1\n"})
    surveyed.watch_set.note_loaded("src.c", ["late/h.py", "late/data.csv"])
    surveyed.update()
    assert "late" in surveyed.watch_set.folders[1]
    assert surveyed.watch_set.snapshot.exists("late/h.py")
    assert not surveyed.watch_set.snapshot.is_relevant("late/data.csv", is_folder=False)
