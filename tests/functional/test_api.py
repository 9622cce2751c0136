"""`from discover_orch import Project`: look at a project and run it, from any program and any thread."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from contextlib import closing
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from discover_orch import Project as OrchProject
from discover_orch.api import (
    Note,
    OrchError,
    Result,
    RunFailed,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolOutput,
    ToolRetried,
    ToolStarted,
    Used,
)
from tests.conftest import Orch, Project
from tests.support.project_builder import clean_environment
from tests.support.reference import MARK
from tests.support.running import DEADLINE

FILES = {
    "orch.toml": 'stages = ["ingest", "analyze"]\n',
    "src/load.py": """
        STAGE = "ingest"
        def run(conn, *, rows: int = 2):
            '''Load rows.'''
            conn.execute("create table if not exists raw (a)")
            conn.executemany("insert into raw values (?)", [(n,) for n in range(rows)])
            print("loaded", rows)
            return {"rows": rows}
        """,
    "src/total.py": """
        STAGE = "analyze"
        AFTER = "load"
        ORCH = {"retries": 1, "retry_delay": 0.01}
        def run(conn, *, fails: bool = False):
            if fails:
                print("adding")
                raise ValueError("no total")
        """,
    "src/page.py": 'STAGE = "analyze"\nAFTER = "total"\ndef run(): pass\n',
}
#: Waits for a file, so that a test decides when it ends.
HOLDS = """
    import os, time
    STAGE = "s"
    def run(conn):
        conn.execute("create table half (a)")
        print("holding", flush=True)
        while not os.access.__wrapped__("go", os.F_OK):
            time.sleep(0.01)
    """


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `clean_environment` has it, for this process."""
    for name in ("DATABASE_URL", "ORCH_INSIDE"):
        monkeypatch.delenv(name, raising=False)


def test_looking_imports_no_user_code(project: Project) -> None:
    root = project({**FILES, "src/bad.py": 'STAGE = "ingest"\nopen("ran", "w")\ndef run(): pass\n'})
    found = OrchProject.find(root / "src")
    assert found.root == root
    assert [tool.name for tool in found.tools] == ["bad", "load", "total", "page"]
    load = found.tools[1]
    assert (load.module, load.path, load.stages) == ("src.load", "src/load.py", ("ingest",))
    assert (load.doc, [(one.name, one.type) for one in load.params]) == (
        "Load rows.",
        [("rows", "int")],
    )
    assert found.tools[2].after == ("load",)
    assert [(one.name, one.tools) for one in found.stages] == [
        ("ingest", ("bad", "load")),
        ("analyze", ("total", "page")),
    ]
    assert {one.state for one in found.status()} == {"never"}
    plan = found.plan("load", rows=5)
    assert [(one.name, one.params["rows"].value) for one in plan.steps] == [("load", 5)]
    assert ">load</text>" in found._repr_html_()
    assert found.problems == ()
    assert not (root / "ran").exists()


def test_a_run_gives_outcomes_metrics_and_output(project: Project) -> None:
    found = OrchProject.find(project(FILES))
    result = found.run(rows=3)
    assert result.is_passed
    assert [*result.outcomes] == ["load", "total", "page"]
    assert result.metrics == {"load": {"rows": 3}}
    assert result.output["load"] == "loaded 3\n"
    assert result.raise_if_failed() is result
    status = {one.name: one for one in found.status(rows=3)}
    assert all(one.is_fresh for one in status.values())
    assert status["load"].writes == (Used(table="raw"),)
    assert [one.name for one in found.status(rows=4) if not one.is_fresh] == [
        "load",
        "total",
        "page",
    ]
    again = found.run(changed=True, rows=3)
    assert {one.status for one in again.outcomes.values()} == {"fresh"}
    assert (again.is_passed, again.run) == (True, "")


def test_a_run_writes_its_page_where_the_configuration_asks_for_it(project: Project) -> None:
    root = project({**FILES, "orch.toml": "report = true\n"})
    result = OrchProject(root).run()
    assert result.status == "passed"
    page = root / ".orch/runs" / result.run / "report.html"
    assert "total" in page.read_text(encoding="utf-8")
    blocked = root / ".orch/runs/2/report.html"
    events = OrchProject(root).events()
    for event in events:
        if isinstance(event, RunStarted):
            (blocked / "taken").mkdir(parents=True)
        if isinstance(event, Note):
            assert event.problem.code == "output-file"
            assert (event.problem.severity, str(blocked) in event.problem.message) == (
                "warning",
                True,
            )
            break
    else:
        pytest.fail("no warning about the page")
    assert [type(event) for event in events] == [RunFinished]


def test_a_failure_is_in_the_result_and_can_be_raised(project: Project) -> None:
    result = OrchProject.find(project(FILES)).run(["load", "analyze"], fails=True)
    assert (result.status, result.is_passed) == ("failed", False)
    (failure,) = result.failures
    assert failure.error is not None
    assert (failure.error.path, failure.error.line, failure.attempt) == ("src/total.py", 8, 2)
    assert "in run" in failure.error.traceback
    assert result.output["total"] == "adding\n"  # of the last attempt
    assert result.outcomes["page"].blocked_by == "total"
    with pytest.raises(RunFailed, match=r"total failed: src/total.py:8: ValueError: no total"):
        result.raise_if_failed()
    assert pickle.loads(pickle.dumps(RunFailed(result))).result == result  # schedulers do that


def test_events_are_those_of_json_with_types(project: Project, orch: Orch) -> None:
    found = OrchProject.find(project(FILES))
    kinds = {
        RunStarted: "run_started",
        ToolStarted: "tool_started",
        ToolOutput: "tool_output",
        ToolRetried: "tool_retried",
        ToolFinished: "tool_finished",
        RunFinished: "run_finished",
    }
    events = [one for one in found.events(fails=True) if not isinstance(one, Note)]
    rows = [
        (kinds[type(one)], getattr(one, "name", None), getattr(one, "text", None)) for one in events
    ]
    shown = orch("run", "--fails", "--json").events
    assert rows == [(one["event"], one.get("name"), one.get("text")) for one in shown]
    assert all(one.time.tzinfo is not None for one in events)


def test_values_are_those_of_the_command_line(project: Project) -> None:
    class Kind(Enum):
        NEW = 1

    root = project(
        {
            "src/kinds.py": "from enum import Enum\nclass Kind(Enum):\n    OLD = 0\n    NEW = 1\n",
            "src/a.py": """
                from datetime import date
                from pathlib import Path
                from src.kinds import Kind
                STAGE = "s"
                def run(*, since: date, path: Path, names: list[str], kind: Kind,
                        dry: bool = True, jobs: int = 1, x: str = "x"):
                    print(since, path.is_absolute(), names, kind.name, dry, jobs, x)
                """,
        }
    )
    result = OrchProject(root).run(
        since=date(2024, 1, 31),
        path=Path("here"),
        names=["a,b", "c"],
        kind=Kind.NEW,
        dry=False,
        x=None,
        params={"jobs": 3, "a.x": "y"},
    )
    assert result.output["a"] == "2024-01-31 True ['a,b', 'c'] NEW False 3 y\n"


def test_what_is_wrong_is_raised_with_its_problems(project: Project) -> None:
    root = project(FILES)
    found = OrchProject.find(root)
    for call in (found.run, found.plan, found.status):
        with pytest.raises(OrchError, match="unknown target") as raised:
            call("lod")
        assert raised.value.problems[0].hint.startswith('did you mean "load"?')
        with pytest.raises(OrchError, match='no selected tool has a parameter "row"'):
            call(row=1)
        with pytest.raises(OrchError, match="not a whole number"):
            call(rows="many")
    project({"src/load.py": "STAGE = (\n"})  # each call reads the project anew
    with pytest.raises(OrchError, match="never closed"):
        found.run()
    assert found.problems[0].code == "syntax"
    with pytest.raises(OrchError, match="database"):
        OrchProject(root, database="data.db").run("total")


def test_a_target_is_a_text_or_the_path_of_a_file(project: Project) -> None:
    found = OrchProject(project(FILES))
    path = found.root / "src" / "load.py"
    targets: Any
    for targets in (path, [path], str(path), iter(["load"])):
        assert [step.name for step in found.plan(targets).steps] == ["load"]
    wrong: Any
    for wrong in (5, [5], b"load", [None]):
        for given in ({"targets": wrong}, {"exclude": wrong}):
            with pytest.raises(ValueError, match=r"^a target must be a text or the path"):
                found.plan(**given)


def test_errors_speak_of_python_arguments_and_not_of_options(project: Project) -> None:
    text = 'STAGE = "s"\ndef run(*, day: date, pin_token: str, n: int = 0): print(n)\n'
    root = project({"src/a.py": f"from datetime import date\n{text}"})
    found = OrchProject(root)
    with pytest.raises(OrchError) as refused:
        found.run("a", dya="x", n="y", params={"b.n": 1})
    said = [f"{one.message}; {one.hint}" for one in refused.value.problems]
    assert said == [
        'b.n: "b" is not a tool; orch list shows all tools',
        'no selected tool has a parameter "dya"; did you mean "day"?',
        "a requires day (date); add day=..., or set day in [tool.orch.params]",
        "a requires pin_token (str); set ORCH_PARAM_PIN_TOKEN in the environment, or add pin_token=...",
        "invalid n for a: 'y' is not a whole number; its type is int; the value comes from the argument n",
    ]
    with pytest.raises(OrchError, match="expected one value, got a list"):
        found.run("a", day="2024-01-01", pin_token="x", n=[1, 2])
    with pytest.raises(OrchError, match=r"^database nonsense is not a database URL"):
        OrchProject(root, database="nonsense").run()


@pytest.mark.parametrize("number", [0, -1, 2.5, "x", True])
@pytest.mark.parametrize("name", ["jobs", "max_failures"])
def test_a_number_that_cannot_be_is_a_value_error(project: Project, name: str, number: Any) -> None:
    found = OrchProject(project({"src/a.py": "STAGE = 's'\ndef run(): ...\n"}))
    arguments: dict[str, Any] = {name: number}
    with pytest.raises(ValueError, match=f"^{name} must be a whole number, 1 or more, not "):
        found.run(**arguments)
    with pytest.raises(ValueError, match=r"^day: a dict cannot be the value of a parameter"):
        found.run(day={"a": 1})
    assert not (found.root / ".orch" / "runs").exists()


def test_find_takes_a_file_and_refuses_what_does_not_exist(project: Project) -> None:
    root = project({"orch.toml": "", "src/a.py": "STAGE = 's'\ndef run(): ...\n"})
    assert OrchProject.find(root / "src" / "a.py").root == root
    gone = str(root / "gone")
    with pytest.raises(OrchError, match=r'folder ".*/gone" does not exist'):
        OrchProject.find(gone)
    with pytest.raises(OrchError, match=r'folder ".*/gone" does not exist'):
        _ = OrchProject(gone).tools


def test_one_run_at_a_time(project: Project) -> None:
    root = project(
        {"orch.toml": "", "src/a.py": HOLDS, "src/b.py": 'STAGE = "s"\ndef run(): pass\n'}
    )
    found = OrchProject.find(root)
    results: list[Result] = []
    with closing(found.events("a")) as events:
        assert any(isinstance(one, ToolOutput) for one in events)  # it is holding now
        with pytest.raises(OrchError, match="another run is in progress"):
            found.run("b")
        other = threading.Thread(target=lambda: results.append(found.run("b", wait=True)))
        other.start()
        (root / "go").touch()
        *_, last = events
    assert isinstance(last, RunFinished)
    other.join(DEADLINE)
    assert [one.status for one in results] == ["passed"]


def test_two_projects_run_at_the_same_time_in_one_process(project: Project) -> None:
    """Each tool waits for the other, so neither run can end alone."""
    meets = """
        import os, time
        STAGE = "s"
        def run(*, mine: str, other: str):
            open(mine, "w").close()
            while not os.access.__wrapped__(other, os.F_OK):
                time.sleep(0.01)
        """
    root = project(
        {
            f"{name}/{path}": text
            for name in "ab"
            for path, text in (("orch.toml", ""), ("src/x.py", meets))
        }
    )
    results: list[Result] = []

    def run(name: str, other: str) -> None:
        files = {"mine": root / name / "here", "other": root / other / "here"}
        results.append(OrchProject(root / name).run(params=files))

    threads = [threading.Thread(target=run, args=pair) for pair in (("a", "b"), ("b", "a"))]
    for one in threads:
        one.start()
    for one in threads:
        one.join(DEADLINE)
    assert [one.status for one in results] == ["passed", "passed"]


def test_leaving_the_loop_interrupts_the_run(project: Project, orch: Orch) -> None:
    root = project({"orch.toml": "", "src/a.py": HOLDS})
    for event in OrchProject.find(root).events():
        if isinstance(event, ToolOutput):
            break
    (run,) = orch("history", "--json").json["runs"]
    assert run["status"] == "interrupted"
    (root / "go").touch()
    assert OrchProject.find(root).run().is_passed  # the table was rolled back


def handlers_now() -> list[object]:
    """The handlers of all signals but SIGINT, for which asyncio has one of its own."""
    numbers = {*range(1, signal.NSIG)} - {signal.SIGINT}
    return [signal.getsignal(number) for number in numbers]


def test_it_works_in_a_thread_and_under_asyncio_and_leaves_the_process_alone(
    project: Project,
) -> None:
    """No handler, no timer, no child process of the program changes."""
    found = OrchProject.find(project({**FILES, "orch.toml": "jobs = 2\n"}))
    handlers = handlers_now()
    timer = signal.getitimer(signal.ITIMER_REAL)
    others = []

    def look() -> Result:
        for event in found.events():
            if isinstance(event, ToolStarted):
                others.append(subprocess.Popen(["sleep", "600"], start_new_session=True))
                assert handlers_now() == handlers
        return found.run("load")

    async def main() -> Result:
        return await asyncio.to_thread(look)

    try:
        assert asyncio.run(main()).is_passed
        assert handlers_now() == handlers
        assert (signal.getitimer(signal.ITIMER_REAL)[0] > 0) == (timer[0] > 0)
        assert others
        assert [one.poll() for one in others] == [None] * len(others)
    finally:
        for one in others:
            one.kill()
            one.wait()


def test_an_interrupt_ends_the_run_before_it_is_raised(project: Project, orch: Orch) -> None:
    root = project({"orch.toml": "", "src/a.py": HOLDS})
    code = """
        import signal, sys
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
        from discover_orch import Project
        from discover_orch.api import ToolOutput
        project = Project.find()
        try:
            for event in project.events():
                if isinstance(event, ToolOutput):
                    print(event.text, flush=True)
        except KeyboardInterrupt:
            print("interrupted", project.status()[0].state)
        """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=root,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "holding\n"
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=DEADLINE)
        finally:
            process.kill()
    assert out.strip().startswith("interrupted")
    (run,) = orch("history", "--json").json["runs"]
    assert [run["status"], run["tools"][0]["status"]] == ["interrupted", "interrupted"]


def test_the_examples_of_the_page_run_as_shown(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = project({})
    here = Path(__file__).parents[2]
    for name in ("pyproject.toml", "src", "data", "templates"):
        copy = shutil.copytree if (here / "sample_project" / name).is_dir() else shutil.copy
        copy(here / "sample_project" / name, root / name)
    monkeypatch.chdir(root)
    text = (here / "docs" / "api.md").read_text("utf-8")
    text = MARK.sub("", text)  # what is made from the code is no example
    first, *more = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, object] = {}
    OrchProject.find().run("ingest").raise_if_failed()
    exec(first, names)
    shown = first.split("result.metrics  # ")[1].strip()
    assert isinstance(names["result"], Result)
    assert repr(names["result"].metrics) == shown
    for code in more[:2]:
        exec(code, names)
    assert "fetch passed\nparse passed\n" in capsys.readouterr().out


def test_a_run_is_resumed_with_its_parameters(project: Project) -> None:
    found = OrchProject.find(project(FILES))
    first = found.run(rows=3, fails=True)
    assert [one.name for one in found.plan(resume=True).steps] == ["total", "page"]
    again = found.run(resume=first.run)
    assert (again.status, [*again.outcomes]) == ("failed", ["load", "total", "page"])
    last = found.run(resume=True, fails=False)
    assert {name: one.status for name, one in last.outcomes.items()} == {
        "load": "fresh",
        "total": "passed",
        "page": "passed",
    }
    done = found.run(resume=True)
    assert (done.is_passed, done.run, done.outcomes) == (True, "", {})
    assert done.problems[0].message.startswith("nothing to resume")
    assert found.plan(resume=True).steps == ()
    with pytest.raises(OrchError, match="resume cannot be combined with targets"):
        found.run("total", resume=True)
    with pytest.raises(OrchError, match="resume cannot be combined with changed"):
        found.plan(resume=1, changed=True)
    with pytest.raises(OrchError, match="run 9 does not exist"):
        found.run(resume=9)


def test_a_run_without_checks_and_one_of_what_a_commit_affects(project: Project) -> None:
    fails = "STAGE = 'a'\ndef run(): ...\ndef check_it(): return False\n"
    root = project({"src/a.py": fails, "src/b.py": "STAGE = 'a'\ndef run(): ...\n"})
    found = OrchProject.find(root)
    assert not found.run().is_passed
    assert found.run(no_checks=True).is_passed
    assert found.status("a")[0].reasons == ("not checked: it ran with --no-checks",)
    for words in (
        ("init", "-q"),
        ("add", "src"),
        ("-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "one"),
    ):
        subprocess.run(("git", *words), cwd=root, check=True)
    project({"src/b.py": "STAGE = 'a'\ndef run(): print(1)\n"})
    assert [one.name for one in found.plan(changed_since="HEAD").steps] == ["b"]
    assert [*found.run(changed_since="HEAD").outcomes] == ["b"]
    with pytest.raises(OrchError, match="changed_since cannot be combined with changed"):
        found.plan(changed=True, changed_since="HEAD")


def test_a_resumed_run_uses_the_database_of_the_run(project: Project) -> None:
    root = project(FILES)
    url = "sqlite:///other.db"
    assert not OrchProject(root, database=url).run(fails=True).is_passed
    assert OrchProject(root).run(resume=True, fails=False).is_passed
    assert not (root / "data.db").exists()


def test_an_executor_runs_the_tools_and_leaves_the_process_alone(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    """A process that the program starts while tools run is not one of the executor."""
    root = project({**FILES, "orch.toml": 'stages = ["ingest", "analyze"]\n'})
    found = OrchProject(root)
    others, statuses = [], {}
    place, handlers = os.getcwd(), handlers_now()
    level = logging.getLogger("asyncio").level
    try:
        for event in found.events(rows=4, fails=True, executor="command", jobs=2):
            if isinstance(event, ToolStarted):
                others.append(subprocess.Popen(["sleep", "600"]))
            if isinstance(event, ToolFinished):
                statuses[event.name] = event.status
            if isinstance(event, ToolOutput) and event.name == "load":
                assert event.text == "loaded 4\n"
        assert statuses == {"load": "passed", "total": "failed", "page": "blocked"}
        assert [one.poll() for one in others] == [None] * len(others)
    finally:
        for one in others:
            one.kill()
            one.wait()
    assert (os.getcwd(), handlers_now()) == (place, handlers)
    assert logging.getLogger("asyncio").level == level
    resumed = found.run(resume=True, fails=False, executor="command")
    assert {name: one.status for name, one in resumed.outcomes.items()} == {
        "load": "fresh",
        "total": "passed",
        "page": "passed",
    }
    assert capfd.readouterr().out == ""


def test_a_configured_executor_is_used_and_one_that_cannot_be_is_refused(
    project: Project,
) -> None:
    root = project(
        {
            **FILES,
            "orch.toml": """
                executor = "command"
                stages = ["ingest", "analyze"]
                [command]
                prefix = "sh prefix.sh"
                """,
            "prefix.sh": 'touch ran; exec "$@"\n',
        }
    )
    found = OrchProject(root)
    assert found.run("page", executor="local").is_passed
    assert not (root / "ran").exists()
    assert found.run("page").is_passed
    assert (root / "ran").exists()
    with pytest.raises(OrchError, match='executor="dsk" is not an executor'):
        found.run("page", executor="dsk")
    assert found.run("page").is_passed  # the lock is free
