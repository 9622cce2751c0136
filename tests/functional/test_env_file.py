"""`env_file`: variables that are read before anything else. Seen through the command line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import Orch, Project
from tests.functional.test_secrets import assert_nowhere
from tests.support.project_builder import clean_environment
from tests.support.remembered import reasons

ENV = """
    # for this machine
    export REGION=north
    SHOP_TOKEN='open-sesame-4711'
    PLACE="${REGION}-1"
    DATABASE_URL=sqlite:///other.db
    ORCH_PARAM_LIMIT=7
    EMPTY
    """
FILES = {
    "orch.toml": '# settings\nenv_file = ".env"\n',
    ".env": ENV,
    "src/lib/__init__.py": "import os\nREGION = os.environ['REGION']\n",
    "src/a.py": """
        import os
        from src.lib import REGION
        STAGE = "s"
        def run(conn, *, limit: int = 1):
            conn.execute("CREATE TABLE IF NOT EXISTS t (x)")
            print("a:", REGION, os.environ["PLACE"], limit, os.environ["SHOP_TOKEN"])
        """,
    "src/b.py": """
        import os, subprocess
        STAGE = "s"
        def run():
            subprocess.run(["sh", "-c", "echo b: $PLACE"])
            print(os.environ.get("OTHER", "no other"))
        """,
}


def test_its_variables_are_there_for_tools_settings_and_what_is_stale(
    project: Project, orch: Orch
) -> None:
    root = project(FILES)
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert "a: north north-1 7 ***\n" in answer.out
    assert "b: north-1\n" in answer.out
    assert "database sqlite:///other.db (DATABASE_URL)" in answer.out
    assert (root / "other.db").exists()
    assert "limit = 7  ORCH_PARAM_LIMIT" in orch("run", "-n", "-v").out
    assert_nowhere(answer, root)
    assert reasons(orch) == {}
    (root / ".env").write_text((root / ".env").read_text() + "UNUSED=1\n")
    assert reasons(orch) == {}, "each variable counts by itself"
    (root / ".env").write_text((root / ".env").read_text() + "OTHER=2\n")
    assert reasons(orch) == {"b": ["the environment variable OTHER changed"]}
    assert orch("run", "--changed", "--jobs", "2").code == 0
    assert reasons(orch) == {}
    (root / ".env").write_text((root / ".env").read_text().replace("north", "south"))
    assert [*reasons(orch)] == ["a", "b"]  # what `b` starts spells PLACE
    assert "a: south south-1 7 ***\n" in orch("run", "--changed").out
    # What is set already wins.
    given = {"REGION": "east", "ORCH_PARAM_LIMIT": "8"}
    assert "a: east east-1 8 ***\n" in orch("run", env=given).out


@pytest.mark.parametrize("command", ["list", "run", "run -n", "status", "check", "graph", "watch"])
def test_a_missing_file_is_refused_with_the_line_of_the_setting(
    project: Project, orch: Orch, command: str
) -> None:
    project({**FILES, "orch.toml": '# settings\nenv_file = "keys/.env"\n'})
    answer = orch(*command.split())
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err == (
        'error: orch.toml:2: the env_file "keys/.env" cannot be read: it does not exist\n'
        "  hint: create the file, with a line NAME=value for each variable, or remove the setting\n"
    )


def test_other_mistakes_are_refused_too(project: Project, orch: Orch) -> None:
    root = project(FILES)
    answer = orch("list", env={"ORCH_ENV_FILE": "none"})
    assert answer.code == 2
    assert 'error: the ORCH_ENV_FILE "none" cannot be read: it does not exist' in answer.err
    (root / ".env").write_text("A=1\nnot a variable\n")
    assert "error: .env:2: this is not a NAME=value line\n" in orch("run").err
    (root / ".env").write_bytes(b"A=\xff\n")
    assert "orch.toml:2: the env_file" in orch("list").err
    project({"orch.toml": "env_file = 3\n"})
    assert "orch.toml:1: env_file must be a string" in orch("list").err


def test_a_warm_listing_sees_a_setting_that_changed_in_the_file(
    project: Project, orch: Orch
) -> None:
    root = project({**FILES, ".env": "REGION=x\n"})
    assert orch("list").code == orch("list").code == 0
    (root / ".env").write_text("REGION=x\nORCH_PACKAGES=nowhere\n")
    assert '"nowhere" in ORCH_PACKAGES' in orch("list").err


def test_tests_have_the_variables(project: Project) -> None:
    root = project(
        {
            **FILES,
            "tests/test_a.py": """
                import os
                def test_a(orch_run, capsys):
                    orch_run("a")
                    assert "a: north north-1 7 open-sesame-4711" in capsys.readouterr().out
                """,
        }
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(root / "tests")],
        cwd=root,
        env=clean_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_remote_workers_have_the_variables(project: Project, orch: Orch) -> None:
    root = project(
        {
            **FILES,
            "orch.toml": 'env_file = ".env"\nexecutor = "command"\n'
            '[command]\nprefix = "sh -c \'env -u DATABASE_URL -i \\"$@\\"\' sh"\nlocal = true\n',
        }
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert "a: north north-1 7 ***\n" in answer.out
    assert_nowhere(answer, root)


def test_exported_schedules_leave_the_file_to_orch(project: Project, orch: Orch) -> None:
    project(FILES)
    assert "EnvironmentFile" not in orch("export", "systemd").out
    assert "or set env_file" in orch("export", "cron").out
    workflow = orch("export", "github").out
    assert "secrets.ENV_FILE" in workflow
    assert '> .env"' in workflow
