"""What was asked to be watched, planned anew as the project changes. Nothing of its tools is ever run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from discover_orch.model.errors import EmptyError, ProjectError, UsageError
from discover_orch.planning.plan import Plan
from discover_orch.watch.project import WatchedProject
from tests.conftest import Project
from tests.support.looked_at import BASE, PARAMS, request_for, tool
from tests.support.project_builder import write_files


class Asked:
    """What was asked of a project: planned at first, and again after each edit."""

    def __init__(self, root: Path, *words: str, database: str | None = None) -> None:
        self.root = root
        self.watched = WatchedProject(request_for(root, *words, database=database), {})

    @property
    def targets(self) -> list[str]:
        return [*self.watched.targets]

    def edit(self, files: Mapping[str, str], *, gone: str = "") -> WatchedProject:
        write_files(self.root, files)
        for path in gone.split():
            (self.root / path).unlink()
        self.watched.refresh([*files, *gone.split()])
        assert not (self.root / "ran").exists()
        return self.watched


# The plan.


def test_everything_is_planned_or_what_the_words_mean(project: Project) -> None:
    root = project(BASE)
    assert Asked(root).targets == ["src.a", "src.b", "src.c"]
    asked = Asked(root, "t")
    assert (asked.targets, asked.watched.problems, asked.watched._strays) == (
        ["src.b", "src.c"],
        (),
        (),
    )


def test_the_first_plan_raises_as_a_run_would(project: Project) -> None:
    root = project({"orch.toml": "", "src/a.py": tool()})
    with pytest.raises(UsageError):
        Asked(root, "nobody")
    (root / "src/a.py").unlink()
    with pytest.raises(EmptyError):
        Asked(root)
    project({"orch.toml": "stages = 3\n"})
    with pytest.raises(ProjectError):
        Asked(root)


def test_a_file_that_cannot_be_read_takes_nothing_away_but_itself(project: Project) -> None:
    asked = Asked(project({**BASE, "src/a.py": "STAGE = (\n"}))
    assert (asked.targets, asked.watched.problems) == (["src.b", "src.c"], ())
    asked.edit({"src/b.py": "STAGE = (\n", "orch.toml": BASE["orch.toml"] + "exclude = ['x']\n"})
    assert (asked.targets, asked.watched.problems) == (["src.c"], ())


def test_of_files_that_all_cannot_be_read_there_is_an_empty_plan(project: Project) -> None:
    asked = Asked(project({"src/a.py": "STAGE = (\n", "src/b.py": "STAGE = [\n"}))
    assert asked.targets == []


def test_a_target_that_has_gone_takes_no_other_with_it(project: Project) -> None:
    asked = Asked(project(BASE), "a", "c")
    assert asked.edit({}, gone="src/a.py").problems == ()
    assert asked.targets == ["src.c"]
    assert len(asked.watched._strays) == 1
    is_back = asked.edit({"src/a.py": BASE["src/a.py"]})
    assert asked.targets == ["src.a", "src.c"]
    assert is_back._strays == ()


def test_when_the_last_tool_has_gone_the_plan_is_empty_and_says_so(
    project: Project,
) -> None:
    asked = Asked(project({"orch.toml": "", "src/a.py": tool()}))
    planned = asked.edit({}, gone="src/a.py")
    assert planned.plan == Plan(targets=())
    assert (planned.problems, len(planned._strays)) == ((), 1)


def test_resources_of_an_orchconf_that_cannot_be_read_are_no_missing_parameters(
    project: Project,
) -> None:
    conf = "from discover_orch import resource\n@resource\ndef http(): {}\n"
    tools = {"orch.toml": "", "src/a.py": "STAGE = 's'\ndef run(http): ...\n"}
    asked = Asked(project({**tools, "orchconf.py": conf.format("return 1")}))
    problems = asked.edit({"orchconf.py": conf.format("(")}).all_problems
    assert {one.code for one in problems} == {"syntax"}
    assert asked.edit({"orchconf.py": conf.format("return 2")}).all_problems == ()


def test_when_a_later_plan_fails_the_earlier_one_stays(project: Project) -> None:
    asked = Asked(project(PARAMS))
    before = asked.watched.plan
    planned = asked.edit({"orch.toml": "[params.a]\nlimit = 'many'\n"})
    assert planned.plan is before
    assert len(planned.problems) == 1


def test_a_database_of_the_command_line_stays(project: Project) -> None:
    asked = Asked(project(PARAMS), database="sqlite:///mine.db")
    assert asked.watched.view.project.database == "sqlite:///mine.db"
    asked.edit({"orch.toml": "database = 'sqlite:///other.db'\n" + PARAMS["orch.toml"]})
    assert asked.watched.view.project.database == "sqlite:///mine.db"
