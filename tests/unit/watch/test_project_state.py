"""What a change means, in real projects that are compared after each edit. Nothing of theirs is ever run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from discover_orch.model.dataflow import Dataflow
from discover_orch.model.observation import Observation
from discover_orch.planning.project_view import ProjectView
from discover_orch.staleness.file_hashes import read_file_stat
from discover_orch.staleness.memory import Memory
from discover_orch.watch.project_state import ChangeImpact, WatchedProject
from discover_orch.watch.request import WatchRequest
from tests.conftest import Project
from tests.support.looked_at import BASE, CANARY, DATA, PARAMS, request_for, tool
from tests.support.project_builder import write_files


class CountingProject(WatchedProject):
    """Counts how often the whole project is read; `while_it_looks` is called at the end of each."""

    def __init__(self, request: WatchRequest, environ: Mapping[str, str]) -> None:
        self.looks = 0
        self.while_it_looks: Callable[[], object] = lambda: None
        super().__init__(request, environ)

    def _read_project(self) -> ProjectView:
        self.looks += 1
        view = super()._read_project()
        self.while_it_looks()
        return view


class Watched:
    """A project that is watched without a clock: `change` edits it, and gives what that means."""

    def __init__(self, root: Path, *words: str, **environ: str) -> None:
        self.root = root
        self.watched = CountingProject(request_for(root, *words), environ)

    def change(
        self, files: Mapping[str, str | bytes], *, gone: str = "", only_code: bool = False
    ) -> ChangeImpact:
        write_files(self.root, files)
        for path in gone.split():
            (self.root / path).unlink()
        return self.find(only_code=only_code)

    def find(self, *, only_code: bool = False) -> ChangeImpact:
        self.watched.snapshot.compare()
        finding = self.watched.consider(only_code=only_code)
        assert not (self.root / "ran").exists()
        return finding

    def touches(self, files: Mapping[str, str | bytes], *, gone: str = "") -> dict[str, str]:
        """The tools that are affected, each with its sentence."""
        return dict(self.change(files, gone=gone).found)

    def looks_at(self, files: Mapping[str, str | bytes]) -> bool:
        """Whether the whole project was read because of an edit."""
        before = self.watched.looks
        assert self.change(files).paths
        return self.watched.looks > before


@pytest.fixture
def watched(project: Project) -> Watched:
    return Watched(project(BASE))


# Source.


def test_nothing_has_changed_at_first(watched: Watched) -> None:
    assert watched.find() == ChangeImpact()
    assert watched.watched.targets == ("src.a", "src.b", "src.c")


def test_a_module_affects_the_tool_that_it_is(watched: Watched) -> None:
    finding = watched.change({"src/a.py": tool(top="from src.lib import dates", body="return")})
    assert (finding.paths, finding.by) == (("src/a.py",), {"src.a": "src/a.py"})
    assert finding.found == {"src.a": "src/a.py changed"}
    assert watched.find() == ChangeImpact()


def test_a_helper_two_imports_away_affects_exactly_its_importers(watched: Watched) -> None:
    assert watched.touches({"src/lib/deep.py": "x = 2\n"}) == {
        "src.a": "src/lib/deep.py changed",
        "src.b": "src/lib/deep.py changed",
    }
    assert watched.touches({"src/lib/dates.py": "from src.lib.deep import x\ny = 2\n"}) == {
        "src.a": "src/lib/dates.py changed"
    }


def test_a_module_that_no_tool_imports_affects_nothing(watched: Watched) -> None:
    finding = watched.change({"src/lib/other.py": "x = 2\n"})
    assert (finding.paths, finding.found) == (("src/lib/other.py",), {})


def test_a_comment_affects_nothing(watched: Watched) -> None:
    assert watched.change({"src/lib/deep.py": "x = 1  # one\n"}) == ChangeImpact()


def test_a_package_that_becomes_one_affects_its_importers(watched: Watched) -> None:
    found = watched.touches({"src/lib/__init__.py": ""})
    assert set(found) == {"src.a", "src.b"}


def test_a_helper_that_goes_affects_its_importers_and_so_does_its_return(watched: Watched) -> None:
    assert watched.touches({}, gone="src/lib/deep.py") == {
        "src.a": "src/lib/deep.py is missing",
        "src.b": "src/lib/deep.py is missing",
    }
    assert set(watched.touches({"src/lib/deep.py": "x = 1\n"})) == {"src.a", "src.b"}


def test_a_new_import_is_known_from_then_on(watched: Watched) -> None:
    watched.change({"src/c.py": tool("t", top="from src.lib import other")})
    assert set(watched.touches({"src/lib/other.py": "x = 2\n"})) == {"src.c"}
    watched.change({"src/c.py": tool("t")})
    assert watched.touches({"src/lib/other.py": "x = 3\n"}) == {}


def test_what_was_awaited_affects_its_importers_when_it_appears(project: Project) -> None:
    watched = Watched(project({"orch.toml": "", "src/a.py": tool(top="import helper")}))
    assert watched.touches({"helper.py": ""}) == {"src.a": "helper.py changed"}


def test_a_folder_that_was_awaited_affects_its_importers_when_it_appears(project: Project) -> None:
    watched = Watched(project({"orch.toml": "", "src/a.py": tool(top="import wanted")}))
    assert set(watched.touches({"wanted/": ""})) == {"src.a"}


def test_a_helper_outside_that_is_no_longer_imported_has_not_changed(project: Project) -> None:
    watched = Watched(
        project({"orch.toml": "", "lib/h.py": "", "src/a.py": tool(top="import lib.h")})
    )
    assert set(watched.touches({"src/a.py": tool()})) == {"src.a"}
    assert watched.watched.watch_set.changed_meanwhile == ()
    assert watched.find() == ChangeImpact()


def test_a_tool_with_an_import_that_cannot_be_read_is_affected_by_every_module_until_it_was_seen(
    project: Project,
) -> None:
    root = project(
        {
            "orch.toml": "",
            "src/a.py": tool(top="import importlib, sys", body="importlib.import_module(sys.argv)"),
            "src/x.py": "y = 1\n",
        }
    )
    watched = Watched(root)
    assert watched.watched.watch_set.has_unread("src.a")
    assert set(watched.touches({"src/x.py": "y = 2\n"})) == {"src.a"}
    watched.watched.watch_set.note_loaded("src.a", ["src/a.py"])
    assert watched.touches({"src/x.py": "y = 3\n"}) == {}


# orchconf.py.


CONF = "from discover_orch import resource\nfrom helpers.net import x\n@resource\ndef http(): return x\n"


def with_conf(project: Project) -> Watched:
    return Watched(
        project(
            {
                "orch.toml": "",
                "orchconf.py": CONF,
                "helpers/net.py": "x = 1\n",
                "src/a.py": tool(takes="http"),
                "src/b.py": tool(takes="conn"),
                "src/c.py": tool(),
            }
        )
    )


def test_orchconf_affects_the_tools_that_take_a_resource(project: Project) -> None:
    watched = with_conf(project)
    assert watched.touches({"orchconf.py": CONF + "y = 1\n"}) == {
        "src.a": "orchconf.py changed",
        "src.b": "orchconf.py changed",
    }


def test_an_orchconf_that_goes_or_appears_affects_them_too(project: Project) -> None:
    files = {"orch.toml": "", "src/b.py": tool(takes="conn"), "src/c.py": tool()}
    watched = Watched(project({**files, "orchconf.py": "def get_connection(): pass\n"}))
    assert watched.touches({}, gone="orchconf.py") == {"src.b": "orchconf.py is missing"}
    assert watched.touches({"orchconf.py": CONF}) == {"src.b": "orchconf.py changed"}


def test_a_resource_that_goes_holds_everything_until_it_is_back(project: Project) -> None:
    """Without it no plan can be made: `http` is a parameter then, and has no value."""
    watched = with_conf(project)
    finding = watched.change({}, gone="orchconf.py")
    assert (finding.found, len(finding.problems)) == ({}, 1)
    finding = watched.change({"src/c.py": tool(body="return")})
    assert (finding.found, set(watched.watched.waiting)) == ({}, {"a", "b", "c"})
    finding = watched.change({"orchconf.py": CONF})
    assert set(finding.found) == {"src.a", "src.b", "src.c"}
    assert (finding.held, finding.problems) == ((), ())


# The configuration.


def test_a_broken_configuration_is_a_problem_and_nothing_is_accepted(project: Project) -> None:
    watched = Watched(project(PARAMS))
    finding = watched.change({"orch.toml": "stages = [\n", "src/b.py": tool()})
    assert [one.location and one.location.path for one in finding.problems] == ["orch.toml"]
    assert (finding.paths, finding.found) == ((), {})
    assert watched.watched.targets == ("src.a", "src.b")
    assert watched.find().problems == finding.problems
    finding = watched.change({"orch.toml": PARAMS["orch.toml"]})
    assert finding.found == {"src.b": "src/b.py changed"}
    assert watched.find() == ChangeImpact()


def test_a_configuration_that_is_fixed_with_something_new_in_it(project: Project) -> None:
    watched = Watched(project(PARAMS))
    watched.change({"orch.toml": "surprise = 1\n"})
    assert watched.touches({"orch.toml": "[params.a]\nsince = '9'\n"}) == {
        "src.a": "--since: 1 → 9 (orch.toml)"
    }


def test_a_parameter_that_a_tool_does_not_have_is_a_problem_until_it_is_fixed(
    project: Project,
) -> None:
    watched = Watched(project(PARAMS))
    finding = watched.change({"orch.toml": "[params.a]\nlimit = 'many'\n"})
    assert len(finding.problems) == 1
    assert finding.found == {}
    assert "src.a" in watched.touches({"orch.toml": "[params.a]\nlimit = 4\n"})
    assert watched.find() == ChangeImpact()


def test_files_that_are_to_be_ignored_affect_nothing(project: Project) -> None:
    text = "[watch]\nignore = ['src/lib/*']\n"
    watched = Watched(project({**BASE, "orch.toml": text}))
    assert watched.change({"src/lib/deep.py": "x = 2\n"}) == ChangeImpact()


def test_files_that_are_to_be_ignored_from_now_on_affect_nothing(watched: Watched) -> None:
    watched.change({"orch.toml": "[watch]\nignore = ['src/lib/*']\n"})
    assert watched.touches({"src/lib/deep.py": "x = 2\n"}) == {}


# Tools that come and go.


def test_a_new_tool_is_affected_and_has_its_place_in_the_order(watched: Watched) -> None:
    finding = watched.change({"src/new.py": tool("s")})
    assert finding.found == {"src.new": "src/new.py changed"}
    assert finding.is_structural
    assert watched.watched.targets == ("src.a", "src.new", "src.b", "src.c")


def test_a_module_that_becomes_a_tool_and_is_one_no_more(watched: Watched) -> None:
    assert set(watched.touches({"src/lib/other.py": tool()})) == {"src.lib.other"}
    finding = watched.change({"src/lib/other.py": "x = 1\n"})
    assert (finding.found, finding.gone) == ({}, ("other",))


def test_a_tool_whose_file_goes_is_gone_and_affects_nothing_that_does_not_import_it(
    watched: Watched,
) -> None:
    finding = watched.change({}, gone="src/a.py")
    assert (finding.paths, finding.gone, finding.found) == (("src/a.py",), ("a",), {})
    assert watched.watched.targets == ("src.b", "src.c")


def test_a_tool_that_moves_goes_and_comes(watched: Watched) -> None:
    (watched.root / "src/sub").mkdir()
    os.rename(watched.root / "src/a.py", watched.root / "src/sub/a.py")
    finding = watched.find()
    assert set(finding.paths) == {"src/a.py", "src/sub/a.py"}
    assert (set(finding.found), finding.gone) == ({"src.sub.a"}, ("a",))


def test_a_tool_that_is_switched_off_is_gone(watched: Watched) -> None:
    finding = watched.change({"src/c.py": "STAGE = None\ndef run(): pass\n"})
    assert (finding.found, finding.gone) == ({}, ("c",))


def test_a_file_that_appears_while_the_project_is_read_is_not_lost(watched: Watched) -> None:
    """After the tools were found, and before the snapshot was configured."""
    watched.watched.while_it_looks = lambda: write_files(watched.root, {"src/late.py": tool()})
    watched.change({"src/early.py": tool()})
    watched.watched.while_it_looks = lambda: None
    if "src.late" not in watched.watched.targets:
        assert set(watched.find().found) == {"src.late"}


def test_a_file_that_changes_while_the_project_is_read_is_found(watched: Watched) -> None:
    text = tool("t", body="return")
    watched.watched.while_it_looks = lambda: write_files(watched.root, {"src/c.py": text})
    finding = watched.change({"src/new.py": tool()})
    watched.watched.while_it_looks = lambda: None
    assert set(finding.found) == {"src.new"}
    assert watched.watched.watch_set.changed_meanwhile == ("src/c.py",)
    assert watched.find().found == {"src.c": "src/c.py changed"}


# Broken files.


def test_a_broken_module_holds_its_own_tool_until_it_is_fixed(watched: Watched) -> None:
    finding = watched.change({"src/a.py": "STAGE = 's'\ndef run(:\n"})
    assert finding.found == {}
    assert [str(one.location) for one in finding.problems] == ["src/a.py:2"]
    assert watched.watched.is_held("src.a")
    finding = watched.change({"src/a.py": tool(body="return")})
    assert finding.found == {"src.a": "src/a.py changed"}
    assert not watched.watched.is_held("src.a")


def test_a_broken_helper_holds_its_importers_and_no_others(watched: Watched) -> None:
    watched.change({"src/lib/dates.py": "from src.lib.deep import x\ny = (\n"})
    assert [watched.watched.is_held(one) for one in watched.watched.targets] == [True, False, False]
    finding = watched.change({"src/lib/deep.py": "x = 2\n"})
    assert (set(finding.found), finding.held) == ({"src.b"}, ("a",))
    finding = watched.change({"src/lib/dates.py": "from src.lib.deep import x\n"})
    assert finding.found == {"src.a": "src/lib/deep.py changed"}
    assert finding.held == ()


def test_a_fix_that_means_something_new_affects(watched: Watched) -> None:
    watched.change({"src/lib/dates.py": "y = (\n"})
    found = watched.touches({"src/lib/dates.py": "from src.lib.deep import x\ny = 2\n"})
    assert found == {"src.a": "src/lib/dates.py changed"}


def test_a_break_that_is_undone_affects_nothing(watched: Watched) -> None:
    watched.change({"src/lib/dates.py": "y = (\n"})
    watched.change({"src/lib/dates.py": BASE["src/lib/dates.py"]})
    assert watched.find() == ChangeImpact()
    watched.change({"src/a.py": "STAGE = (\n"})
    finding = watched.change({"src/a.py": BASE["src/a.py"]})
    assert (finding.found, finding.held) == ({}, ())
    assert watched.watched.targets == ("src.a", "src.b", "src.c")


def test_one_broken_tool_hides_no_other(watched: Watched) -> None:
    watched.change({"src/a.py": "STAGE = (\n"})
    assert set(watched.touches({"src/new.py": tool("t")})) == {"src.new"}
    assert set(watched.touches({"src/c.py": tool("t", body="return")})) == {"src.c"}
    assert set(watched.touches({"src/a.py": tool(body="return")})) == {"src.a"}


def test_a_tool_that_is_broken_and_then_deleted_holds_nothing(watched: Watched) -> None:
    watched.change({"src/a.py": "STAGE = (\n"})
    finding = watched.change({}, gone="src/a.py")
    assert (finding.found, finding.held, finding.problems) == ({}, (), ())
    assert watched.watched.targets == ("src.b", "src.c")


def test_a_project_that_was_broken_from_the_beginning(project: Project) -> None:
    root = project({"orch.toml": "", "src/a.py": "STAGE = (\n", "src/b.py": tool()})
    watched = Watched(root)
    assert watched.watched.targets == ("src.b",)
    assert set(watched.watched.snapshot.broken) == {"src/a.py"}
    assert set(watched.touches({"src/a.py": tool()})) == {"src.a"}
    only = Watched(project({"src/a.py": "STAGE = (\n", "src/b.py": "STAGE = [\n"}))
    assert only.watched.targets == ()
    assert set(only.touches({"src/b.py": tool()})) == {"src.b"}


def test_the_last_tool_may_go_and_another_come(project: Project) -> None:
    watched = Watched(project({"orch.toml": "", "src/a.py": tool()}))
    finding = watched.change({}, gone="src/a.py")
    assert (finding.gone, watched.watched.targets) == (("a",), ())
    assert finding.problems
    finding = watched.change({"src/b.py": tool()})
    assert (set(finding.found), finding.problems) == ({"src.b"}, ())


# Targets and data.


def test_targets_limit(project: Project) -> None:
    watched = Watched(project(BASE), "t")
    assert watched.watched.targets == ("src.b", "src.c")
    assert watched.touches({"src/lib/deep.py": "x = 2\n"}) == {"src.b": "src/lib/deep.py changed"}
    finding = watched.change({"src/a.py": tool(body="return")})
    assert (finding.paths, finding.found) == (("src/a.py",), {})
    assert set(watched.touches({"src/new.py": tool("t"), "src/newer.py": tool("s")})) == {"src.new"}


def test_an_input_affects_the_tools_that_declare_it(project: Project) -> None:
    watched = Watched(project(DATA))
    assert set(watched.touches({"in/x.csv": "2\n"})) == {"src.a", "src.b"}
    assert set(watched.touches({"in/new/y.csv": "2\n"})) == {"src.b"}
    assert watched.touches({"rates.json": "{}"}) == {"src.a": "rates.json now exists"}
    assert watched.touches({}, gone="rates.json") == {"src.a": "rates.json is missing"}
    assert watched.touches({"out/z": "", "elsewhere.csv": ""}) == {}


def test_data_can_be_left_for_later(project: Project) -> None:
    watched = Watched(project(DATA))
    finding = watched.change({"in/x.csv": "2\n", "src/c.py": tool(body="return")}, only_code=True)
    assert (finding.paths, set(finding.found)) == (("src/c.py",), {"src.c"})
    assert watched.find(only_code=True) == ChangeImpact()
    assert set(watched.find().found) == {"src.a", "src.b"}


def test_the_outputs_of_tools_are_found_as_far_as_they_are_there(project: Project) -> None:
    watched = Watched(project({**DATA, "out/z": ""})).watched
    assert watched.find_outputs(["src.a", "src.c", "src.nobody"]) == {"out/z"}


# When the whole project must be read again.


@pytest.mark.parametrize(
    "files",
    [
        {"src/c.py": tool("t", takes="*, since='x'")},
        {"src/c.py": tool("s")},
        {"src/c.py": tool("t", top="AFTER = 'b'")},
        {"src/c.py": tool("t", top="ORCH = {'name': 'other'}")},
        {"src/c.py": '"""What it does."""\n' + tool("t")},
        {"src/new.py": "x = 1\n"},
        {"src/lib/other.py": tool()},
        {"orch.toml": "# changed\n"},
        {"orchconf.py": ""},
    ],
)
def test_what_the_command_line_offers_is_structural(
    watched: Watched, files: Mapping[str, str]
) -> None:
    assert watched.looks_at(files)


def test_a_constant_that_tools_take_their_stage_from_is_structural(project: Project) -> None:
    text = f"{CANARY}from src.names import FIRST\nSTAGE = FIRST\ndef run(): pass\n"
    watched = Watched(project({"orch.toml": "", "src/names.py": "FIRST = 's'\n", "src/a.py": text}))
    finding = watched.change({"src/names.py": "FIRST = 't'\n"})
    assert (finding.is_structural, set(finding.found)) == (True, {"src.a"})
    assert watched.watched.registry.tools["src.a"].stages == ("t",)


def test_in_a_project_without_folders_every_new_module_is_structural(project: Project) -> None:
    watched = Watched(project({"orch.toml": "packages = ['.']\n", "a.py": tool()}))
    assert watched.looks_at({"new.py": "x = 1\n"})


def test_without_an_index_every_change_is_structural(watched: Watched) -> None:
    for path in (watched.root / ".orch").iterdir():
        path.unlink()
    assert watched.looks_at({"src/c.py": tool("t", body="return")})


def test_after_a_structural_change_bodies_are_still_none(watched: Watched) -> None:
    assert watched.looks_at({"src/c.py": tool("t", takes="*, since='x'")})
    watched.watched.prepare()
    assert not watched.looks_at({"src/c.py": tool("t", takes="*, since='x'", body="return")})


def test_a_signature_that_changed_is_in_the_plan(project: Project) -> None:
    watched = Watched(project(PARAMS))
    finding = watched.change({"src/a.py": tool(takes="*, since: str = 'x', until: str = 'y'")})
    assert finding.is_structural
    assert [one.name for one in watched.watched.registry.tools["src.a"].params] == [
        "since",
        "until",
    ]


# Plans and folders.


def test_a_plan_of_some_has_their_order_and_their_reasons(watched: Watched) -> None:
    plan = watched.watched.plan_of({"src.c": "why c", "src.a": "why a", "src.gone": "x"})
    assert [(step.tool.module, step.reason) for step in plan.steps] == [
        ("src.a", "why a"),
        ("src.c", "why c"),
    ]
    assert all(set(step.after) <= {"src.a", "src.c"} for step in plan.steps)


def test_what_else_is_run_is_a_matter_of_the_scope(watched: Watched) -> None:
    expand = watched.watched.expand
    assert expand(["src.b"], "tool") == ("src.b",)
    assert expand(["src.b"], "stage") == ("src.b", "src.c")
    assert expand(["src.a"], "downstream") == ("src.a", "src.b", "src.c")


def test_it_says_what_the_watched_tools_import_from_elsewhere(project: Project) -> None:
    root = project(
        {
            "orch.toml": "",
            "src/a.py": tool(top="import json\nfrom src import helper"),
            "src/b.py": tool("t", top="import decimal"),
            "src/helper.py": "from xml.dom import minidom\n",
        }
    )
    assert Watched(root).watched.preload() == (
        ("json", ()),
        ("xml.dom", ("minidom",)),
        ("decimal", ()),
    )
    assert Watched(root, "b").watched.preload() == (("decimal", ()),)


# What tools were seen to do.


FLOWS = {
    "orch.toml": "stages = ['s', 't']\n",
    "src/a.py": tool(),
    "src/b.py": tool(),
    "src/c.py": tool("t"),
    "x.csv": "1",
    "in/y.csv": "1",
}


def see(
    watched: Watched, name: str, *reads: str, has_passed: bool = True, **more: tuple[str, ...]
) -> None:
    """The tool ends in a run that begins with it, and has read these as they stand."""
    marks = {path: read_file_stat(str(watched.root / path)) or (-1, 0, 0) for path in reads}
    read = tuple((path, *mark) for path, mark in marks.items())
    folders = tuple((path, "") for path in more.pop("listed", ()))
    seen = replace(Observation(read=read, listed=folders), **more)
    watched.watched.observed_inputs.note_end(f"src.{name}", seen, has_passed=has_passed)


def test_what_a_tool_was_seen_to_need_affects_it_from_then_on(project: Project) -> None:
    watched = Watched(project(FLOWS))
    assert watched.touches({"x.csv": "2"}) == {}
    see(watched, "a", "x.csv", missed=("late.csv",), listed=("in",))
    watched.watched.apply_observed()
    assert watched.watched.watch_set.observed == (2, 1)
    assert watched.find() == ChangeImpact()
    assert watched.touches({"x.csv": "3"}) == {"src.a": "x.csv changed"}
    assert watched.touches({"late.csv": ""}) == {"src.a": "late.csv now exists"}
    assert watched.touches({"in/y.csv": "2"}) == {}
    assert watched.touches({"in/z.csv": "2"}) == {"src.a": "in/z.csv now exists"}
    assert watched.touches({}, gone="in/y.csv x.csv") == {"src.a": "in/y.csv is missing"}
    assert watched.find(only_code=True) == ChangeImpact()


def test_what_earlier_runs_have_shown_is_known_from_the_start(project: Project) -> None:
    root = project({**FLOWS, ".orch/": ""})
    Memory(str(root)).write_flows({"src.a": Dataflow(reads=("x.csv",))})
    assert Watched(root).touches({"x.csv": "2"}) == {"src.a": "x.csv changed"}
    assert Watched(root, "b").touches({"x.csv": "3"}) == {}


def test_the_order_follows_from_what_was_seen(project: Project) -> None:
    watched = Watched(project(FLOWS))
    assert watched.watched.targets == ("src.a", "src.b", "src.c")
    see(watched, "a", "x.csv", written=("out.csv",))
    see(watched, "b", written=("x.csv",))
    watched.watched.apply_observed(["x.csv"])
    assert watched.watched.targets == ("src.b", "src.a", "src.c")
    assert watched.watched.expand(["src.b"], "downstream") == ("src.b", "src.a", "src.c")
    see(watched, "c", "in/y.csv")
    watched.watched.apply_observed()
    assert watched.watched.expand(["src.b"], "downstream") == ("src.b", "src.a")
    # A look at the whole project takes nothing of it away, though nothing was kept on the disk.
    watched.change({"src/d.py": tool("t")})
    assert watched.watched.targets[:2] == ("src.b", "src.a")


def test_a_file_that_changed_between_the_end_of_its_tool_and_that_of_the_run_affects_it(
    project: Project,
) -> None:
    watched = Watched(project(FLOWS))
    see(watched, "a", "x.csv", "in/y.csv", missed=("late.csv",))
    project({"x.csv": "2, and longer", "late.csv": "", "in/y.csv": "2, and longer"})
    watched.watched.apply_observed(["in/y.csv"])  # which the run wrote itself
    assert watched.find().found == {"src.a": "late.csv now exists"}
    assert watched.find() == ChangeImpact()


def test_nothing_new_costs_no_comparison(watched: Watched) -> None:
    see(watched, "a", "orch.toml")
    watched.watched.apply_observed()
    before = watched.watched.view
    see(watched, "a", "orch.toml")
    watched.watched.apply_observed()
    assert watched.watched.view is before


def test_a_tool_that_an_after_names_goes_for_a_moment_and_comes_back(project: Project) -> None:
    fetch = "STAGE = 's'\ndef run(): return 1\n"
    watched = Watched(
        project(
            {"src/fetch.py": fetch, "src/b.py": "STAGE = 's'\nAFTER = 'fetch'\ndef run(): ...\n"}
        )
    )
    assert watched.change({}, gone="src/fetch.py").problems
    back = watched.change({"src/fetch.py": fetch.replace("1", "2")})
    assert (back.problems, set(back.found)) == ((), {"src.fetch", "src.b"})
    assert set(watched.touches({"src/fetch.py": fetch})) == {"src.fetch"}
