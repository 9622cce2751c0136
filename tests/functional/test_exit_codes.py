"""The exit code of every way that `orch run` can end without a signal."""

from __future__ import annotations

import pytest

from tests.conftest import Orch, Project

FILES = {
    "orch.toml": 'stages = ["good", "bad"]\n',
    "src/fine.py": 'STAGE = "good"\ndef run(*, limit: int = 1): pass\n',
    "src/fails.py": 'STAGE = "bad"\ndef run(): 1 / 0\n',
}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("run good", 0),
        ("run -n", 0),
        ("run --help", 0),
        ("run", 1),
        ("run --pdb", 1),
        ("run nobody", 2),
        ("run good --nope", 2),
        ("run good --output loud", 2),
        ("run good --limit many", 2),
        ("run good -p nonsense", 2),
        ("run good -p nobody.limit=1", 2),
        ("-C nowhere run", 2),
        ("run --exclude full", 5),
        ("run good --exclude fine", 5),
    ],
)
def test_exit_code(project: Project, orch: Orch, words: str, code: int) -> None:
    project(FILES)
    answer = orch(*words.split())
    assert answer.code == code, answer.text
    assert "Traceback" not in answer.err


def test_a_resource_that_raises_when_it_is_closed_is_1(project: Project, orch: Orch) -> None:
    project(
        {
            "orchconf.py": """
                from discover_orch import resource
                @resource
                def thing():
                    yield 1
                    raise ValueError
            """,
            "src/a.py": 'STAGE = "s"\ndef run(thing): pass\n',
        }
    )
    assert orch("run").code == 1


@pytest.mark.parametrize("configuration", ["stages = 5", "stagse = []", "stages = [", 'a = "'])
def test_a_wrong_configuration_is_2_with_its_line(
    project: Project, orch: Orch, configuration: str
) -> None:
    project({**FILES, "orch.toml": configuration})
    answer = orch("run")
    assert (answer.code, answer.out) == (2, "")
    assert "orch.toml" in answer.err


def test_a_discovery_error_that_the_run_could_reach_is_4_and_nothing_runs(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "src/a.py": 'STAGE = "s"\ndef run():\n    open("ran", "w")\n',
            "src/b.py": 'STAGE = "s"\ndef run(:\n',
            "src/c.py": 'STAGE = "t"\ndef run(): pass\n',
        }
    )
    answer = orch("run", "s")
    assert (answer.code, answer.out) == (4, "")
    assert "error: src/b.py:2: " in answer.err
    assert not (root / "ran").exists()
    other = orch("run", "t")
    assert other.code == 0, other.text
    assert "warning: src/b.py:2: " in other.err


def test_no_tool_at_all_is_5(project: Project, orch: Orch) -> None:
    project({"src/plain.py": "x = 1\n"})
    assert orch("run").code == 5
