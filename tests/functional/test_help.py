"""`--help` in every place: it never needs a healthy project, and shows what the targets take."""

from __future__ import annotations

import platform
import sys

import pytest

import discover_orch
from discover_orch.cli.help_command import TOPICS
from tests.conftest import Orch, Project

PIPELINE = {
    "src/fetch.py": '''
        STAGE = "ingest"
        def run(conn, *, source: str, limit: int = 10, verbose: bool = False, token: str = "t"):
            """Fetch.

            Args:
                source: where the rows
                    come from
                limit: how many
            """
        ''',
    "src/parse.py": "STAGE = 'ingest'\ndef run(*, kind: list[str] = [], **kwargs): ...\n",
    "src/draw.py": "STAGE = 'render'\ndef run(*, wide: bool = True): ...\n",
}


def test_orch_alone_is_help(project: Project, orch: Orch) -> None:
    project({})
    answer = orch()
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == orch("--help").out
    for word in ("Usage: orch", "run ", "list ", "graph ", "check ", "Exit codes:"):
        assert word in answer.out
    assert "..." not in answer.out.split("Commands:")[1], "no sentence is cut off"


def test_version(project: Project, orch: Orch) -> None:
    project({})
    assert orch("--version").out == f"orch {discover_orch.__version__}\n"


def test_version_with_v_shows_python_and_the_packages(project: Project, orch: Orch) -> None:
    project({})
    rows = dict(line.split(maxsplit=1) for line in orch("--version", "-v").out.splitlines())
    assert rows["orch"] == discover_orch.__version__
    assert rows["Python"] == f"{platform.python_version()} ({sys.executable})"
    assert {"click", "msgspec", "pathspec", "python-dotenv", "rich", "watchdog"} <= {*rows}


def test_help_explains_topics_and_commands(project: Project, orch: Orch) -> None:
    project({})
    listed = orch("help")
    assert listed.code == 0
    for topic, word in (
        ("convention", "STAGE"),
        ("targets", "+parse"),
        ("tags", '"retry_delay"'),
        ("parameters", "ORCH_PARAM_"),
        ("configuration", 'database = "sqlite:///data.db"'),
        ("exit-codes", "130"),
    ):
        assert f"  {topic}  " in listed.out
        text = TOPICS[topic][1]()
        assert word in text
        assert max(map(len, text.splitlines())) <= 80
    assert orch("help", "targets").out == TOPICS["targets"][1]()
    assert orch("help", "history").out == orch("history", "--help").out
    wrong = orch("help", "target")
    assert wrong.code == 2
    assert 'did you mean "targets"?' in wrong.err


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_fits_a_narrow_screen_and_loses_no_word(
    project: Project, orch: Orch, topic: str
) -> None:
    project({})
    narrow = orch("help", topic, env={"COLUMNS": "60"}).out
    assert max(map(len, narrow.splitlines())) <= 60
    assert narrow.split() == TOPICS[topic][1]().split()


def test_run_help_shows_the_parameters_of_exactly_the_selected_tools(
    project: Project, orch: Orch
) -> None:
    project(PIPELINE)
    answer = orch("run", "ingest", "--help")
    assert answer.code == 0
    text = " ".join(answer.out.split())
    for said in (
        "Parameters of fetch:",
        "--source STR where the rows come from [required]",
        "--limit INT how many [default: 10]",
        "-p verbose=VALUE [default: false]",
        "--token STR [default: ***]",
        "Parameters of parse:",
        "--kind STR ... (can be given several times)",
        "-p KEY=VALUE any other value, for **kwargs",
    ):
        assert said in text
    assert "draw" not in answer.out
    assert "--wide/--no-wide" in orch("run", "--help", "draw").out
    assert "Parameters of draw" in orch("run", "-h").out


def test_help_shows_a_default_as_one_would_type_it(project: Project, orch: Orch) -> None:
    project(
        {
            "src/a.py": """
                from datetime import date, datetime
                from decimal import Decimal
                from pathlib import Path
                STAGE = "s"
                def run(
                    *, rate: Decimal = Decimal("1.0"), to: Path = Path("out/x"), day: date = date(2024, 1, 2),
                    at: datetime = datetime(2024, 1, 2, 12), dry: bool = True, name: str = "two words",
                    empty: str = "", many: list[int] = [1, 2], none: list[str] = [], now: date = date.today(),
                ): ...
            """
        }
    )
    text = " ".join(orch("run", "a", "--help").out.split())
    for shown in (
        "--rate DECIMAL [default: 1.0]",
        "--to PATH [default: out/x]",
        "--day DATE [default: 2024-01-02]",
        "--at DATETIME [default: 2024-01-02T12:00:00]",
        "--dry/--no-dry [default: --dry]",
        "--name STR [default: two words]",
        "--empty STR [default: '']",
        "--many INT ... (can be given several times) [default: 1, 2]",
        "--none STR ... (can be given several times) --now DATE [default: date.today()]",
    ):
        assert shown in text, text
    assert "     rate = 1.0  default\n" in orch("run", "-n", "-v").out


@pytest.mark.parametrize("width", ["40", "80", "200"])
def test_help_fits_its_terminal(width: str, project: Project, orch: Orch) -> None:
    project(PIPELINE)
    for words in (("--help",), ("run", "--help")):
        lines = orch(*words, env={"COLUMNS": width}).out.splitlines()
        assert max(map(len, lines)) <= max(int(width), 80)


def test_help_is_there_in_a_project_that_is_broken(project: Project, orch: Orch) -> None:
    project({**PIPELINE, "src/broken.py": "STAGE = 'ingest'\n("})
    for words in ((), ("ingest",), ("nope",), ("draw",)):
        assert orch("run", *words, "--help").code == 0, words
    project({"orch.toml": "stages = ["})
    for command in ("run", "list", "graph", "check"):
        answer = orch(command, "--help")
        assert (answer.code, answer.err) == (0, ""), command
        assert f"Usage: orch {command}" in answer.out
