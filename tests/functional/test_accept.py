"""`orch accept`: tools are taken as they are for fresh, and nothing of them runs."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.permissions import bound_by_permissions
from tests.support.remembered import copy_sample, reasons

ALARM = 'open("AWAKE", "w").close()\n'


@pytest.fixture
def sample(tmp_path: Path, orch: Orch) -> Path:
    root = copy_sample(tmp_path / "project")
    assert orch("run", "-q").code == 0
    return root


def test_files_parameters_and_tables_are_accepted_too(sample: Path, orch: Orch) -> None:
    with (sample / "data" / "penguins_raw.csv").open("a") as file:
        file.write("\n")
    assert orch("accept", "fetch").code == 0
    assert reasons(orch) == {}
    assert orch("accept", "enrich", "summarize", "--since", "2008-11-01").code == 0
    assert reasons(orch, "--since", "2008-11-01") == {}
    assert reasons(orch)["enrich"] == ["--since: 2008-11-01 → default"]
    assert orch("accept", "full").code == 0
    assert reasons(orch) == {}
    data = sample / "data" / "penguins_raw.csv"
    data.write_text(data.read_text().rstrip().rpartition("\n")[0] + "\n")
    assert orch("run", "fetch").code == 0
    assert reasons(orch)["parse"] == ["table raw was rewritten by fetch (run 2)"]
    assert orch("accept", "parse").code == 0
    assert reasons(orch) == {}
    (sample / "output" / "report.html").unlink()
    assert orch("accept", "render").code == 0
    assert reasons(orch) == {}


def test_a_tool_without_its_declared_output_stays_stale(project: Project, orch: Orch) -> None:
    write = "open('b.csv', 'w').close(); open('c1.txt', 'w').close()"
    root = project(
        {
            "orch.toml": "",
            "src/a.py": "STAGE = 's'\ndef run(): pass\n",
            "src/b.py": f"STAGE = 's'\nORCH = {{'outputs': ['b.csv', 'c*.txt']}}\ndef run(): {write}\n",
        }
    )
    answer = orch("accept", "full")
    assert (answer.code, answer.out) == (0, "accepted as fresh: a\n")
    assert "b is still stale: b.csv is missing" in answer.err
    assert reasons(orch) == {"b": ["b.csv is missing", "no file matches c*.txt"]}
    # What somebody else has made is accepted, and missed where it is gone again.
    (root / "b.csv").touch()
    (root / "c2.txt").touch()
    assert orch("accept", "b").out == "accepted as fresh: b\n"
    assert reasons(orch) == {}
    (root / "b.csv").unlink()
    assert reasons(orch) == {"b": ["b.csv is missing"]}
    # After a success as well.
    assert orch("run", "b").code == 0
    (root / "b.csv").unlink()
    assert orch("accept", "b", "--json").json == {"version": 1, "accepted": []}
    assert reasons(orch) == {"b": ["b.csv is missing"]}


def test_another_database_is_accepted_and_its_tables_count(project: Project, orch: Orch) -> None:
    make = (
        "conn.execute('create table if not exists t (x)'); conn.execute('insert into t values (1)')"
    )
    root = project(
        {
            "orch.toml": "",
            "src/a.py": f"STAGE = 's'\ndef run(conn): {make}\n",
            "src/b.py": "STAGE = 's'\nAFTER = 'a'\ndef run(conn): conn.execute('select x from t').fetchall()\n",
        }
    )
    assert orch("run").code == 0
    (root / "data.db").unlink()
    with sqlite3.connect(root / "data.db") as conn:
        conn.execute("create table t (x)")
    conn.close()
    assert [*reasons(orch)] == ["a", "b"]
    assert orch("accept", "full").code == 0
    assert reasons(orch) == {}
    assert orch("run", "a").code == 0
    assert reasons(orch) == {"b": ["table t was rewritten by a (run 2)"]}


def test_nothing_of_the_users_is_imported(project: Project, orch: Orch) -> None:
    root = project(
        {
            "orch.toml": "",
            "orchconf.py": ALARM + "def get_connection(): ...\n",
            "src/__init__.py": ALARM,
            "src/a.py": ALARM + "STAGE = 's'\ndef run(conn): ...\n",
        }
    )
    assert orch("accept", "a").code == 0
    assert not (root / "AWAKE").exists()


def test_where_nothing_can_be_kept_it_says_so(project: Project, orch: Orch) -> None:
    """Unlike a run, it has no other result than what it keeps."""
    root = project({"orch.toml": "", "src/a.py": "STAGE = 's'\ndef run(): pass\n"})
    root.chmod(0o555)
    try:
        answer = orch("accept", "a", prefix=bound_by_permissions())
    finally:
        root.chmod(0o755)
    assert answer.code == 2, answer.text
    assert "cannot write to .orch: nothing was accepted" in answer.err
    assert answer.out == ""


def test_a_secret_is_not_kept(project: Project, orch: Orch) -> None:
    root = project(
        {"orch.toml": "", "src/a.py": "STAGE = 's'\ndef run(*, api_key: str = ''): pass\n"}
    )
    assert orch("accept", "a", "--api-key", "open-sesame-4711").code == 0
    for path in (root / ".orch").rglob("*"):
        assert path.is_dir() or b"open-sesame" not in path.read_bytes()
    assert reasons(orch) == {}
