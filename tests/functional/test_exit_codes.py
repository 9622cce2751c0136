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


@pytest.mark.parametrize("configuration", ["stages = 5", "stagse = []", "stages = [", 'a = "'])
def test_a_wrong_configuration_is_2_with_its_line(
    project: Project, orch: Orch, configuration: str
) -> None:
    project({**FILES, "orch.toml": configuration})
    answer = orch("run")
    assert (answer.code, answer.out) == (2, "")
    assert "orch.toml" in answer.err


def test_status_exit_code_is_1_unless_all_selected_tools_are_fresh(
    project: Project, orch: Orch
) -> None:
    project(FILES)
    assert orch("status").code == 0
    assert orch("status", "--exit-code").code == 1, "never ran"
    assert orch("run").code == 1
    assert orch("status", "good", "--exit-code").code == 0
    assert orch("status", "good", "--limit", "2", "--exit-code").code == 1
    answer = orch("status", "--exit-code", "--json")
    assert answer.code == 1, "the other tool failed"
    assert [tool["state"] == "fresh" for tool in answer.json["tools"]] == [True, False]
    project({"src/fails.py": 'STAGE = "bad"\ndef run(): pass\n'})
    assert orch("run").code == 0
    for _ in range(2):  # the second answer may come from a cache
        assert orch("status", "--exit-code").code == 0
    project({"src/broken.py": 'STAGE = "good"\ndef run(:\n'})
    assert orch("status", "--exit-code").code == 4
