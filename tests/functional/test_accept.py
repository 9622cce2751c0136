"""`orch accept`: tools are taken as they are for fresh, and nothing of them runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.permissions import bound_by_permissions
from tests.support.remembered import change, copy_sample, ran, reasons
from tests.support.running import running

ALARM = 'open("AWAKE", "w").close()\n'


@pytest.fixture
def sample(tmp_path: Path, orch: Orch) -> Path:
    root = copy_sample(tmp_path / "project")
    assert orch("run", "-q").code == 0
    return root


def test_a_change_that_makes_no_difference_is_accepted(sample: Path, orch: Orch) -> None:
    change(sample / "src" / "pipeline" / "parse.py", "SPECIES = {", 'NOTE = "x"\nSPECIES = {')
    assert list(reasons(orch)) == ["parse", "enrich", "summarize", "render"]
    answer = orch("accept", "parse")
    assert (answer.code, answer.out, answer.err) == (0, "accepted as fresh: parse\n", "")
    assert reasons(orch) == {}
    assert ran(orch("run", "--changed", "--json")) == []
    assert len(orch("history", "--json").json["runs"]) == 1
    assert "accepted" in orch("status", "parse").out
    # What comes later is compared with what was accepted.
    change(sample / "src" / "pipeline" / "parse.py", 'NOTE = "x"\n', "")
    assert reasons(orch)["parse"] == ["src/pipeline/parse.py changed"]


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
    assert "b is still stale: its output b.csv does not exist" in answer.err
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


def test_it_needs_targets_and_right_ones(project: Project, orch: Orch) -> None:
    project({"orch.toml": "", "src/a.py": "STAGE = 's'\ndef run(*, n: int = 0): pass\n"})
    answer = orch("accept")
    assert answer.code == 2
    assert "orch accept full accepts all tools" in answer.err
    assert orch("accept", "nope").code == 2
    assert orch("accept", "a", "--n", "x").code == 2
    assert orch("accept", "a", "--exclude", "a").code == 5
    assert list(reasons(orch)) == ["a"]


def test_it_is_refused_while_a_run_is_going_on(project: Project, orch: Orch) -> None:
    root = project(
        {
            "orch.toml": "",
            "src/a.py": """
                import os, time
                STAGE = "s"
                def run():
                    print("running", flush=True)
                    while not os.path.exists("go"):
                        time.sleep(0.01)
                """,
        }
    )
    with running(root, "run") as run:
        run.wait_for("running")
        answer = orch("accept", "a")
        assert answer.code == 2
        assert "another run is in progress" in answer.err
        (root / "go").touch()
        assert run.wait() == 0


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
