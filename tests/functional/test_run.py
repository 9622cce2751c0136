"""`orch run`: which tools run, in which order, with which arguments, and what one leaves to the next."""

from __future__ import annotations

from tests.conftest import Orch, Project

SHOW = """
    STAGE = "{stage}"
    def run():
        print("this is {name}")
"""


def show(name: str, stage: str) -> str:
    return SHOW.format(name=name, stage=stage)


def test_a_stage_runs_with_the_options_of_its_tools(project: Project, orch: Orch) -> None:
    project(
        {
            "src/a.py": """
                from datetime import date
                STAGE = "s"
                def run(*, since: date | None = None, limit: int = 5, dry: bool = False):
                    print(repr(since), repr(limit), repr(dry))
            """,
            "src/b.py": show("b", "other"),
        }
    )
    answer = orch("run", "s", "--since", "2024-02-29", "--dry")
    assert answer.code == 0, answer.text
    assert "datetime.date(2024, 2, 29) 5 True" in answer.out
    assert "this is b" not in answer.out


def test_tools_run_in_the_root_and_typed_paths_are_relative_to_where_they_were_typed(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "orch.toml": "",
            "deep/er/": "",
            "src/a.py": """
                from pathlib import Path
                STAGE = "s"
                def run(*, source: Path = Path("x")):
                    print(Path.cwd(), source.resolve().relative_to(Path.cwd()))
            """,
        }
    )
    answer = orch("run", "--source", "here.csv", cwd=root / "deep" / "er")
    assert f"{root} deep/er/here.csv" in answer.out, answer.text


def test_a_failure_ends_the_run_and_says_what_did_not_start(project: Project, orch: Orch) -> None:
    root = project(
        {
            "orch.toml": 'stages = ["s", "t"]',
            "src/a.py": show("a", "s"),
            "src/b.py": 'STAGE = "s"\nAFTER = "a"\ndef run():\n    raise ValueError("no")\n',
            "src/c.py": 'STAGE = "s"\nAFTER = "b"\ndef run():\n    open("ran", "w")\n',
            "src/d.py": 'STAGE = "s"\nAFTER = ()\ndef run():\n    open("ran", "w")\n',
            "src/e.py": 'STAGE = "t"\ndef run():\n    open("ran", "w")\n',
        }
    )
    answer = orch("run", "a", "b", "c", "d", "e")
    assert answer.code == 1, answer.text
    assert answer.out.splitlines()[-1].startswith("1 failed, 1 passed, 2 blocked, 1 not run in")
    assert not (root / "ran").exists()


def test_an_import_that_wants_another_pythonpath_says_so(project: Project, orch: Orch) -> None:
    project(
        {
            "src/library.py": "",
            "src/a.py": 'import library\nSTAGE = "s"\ndef run(): pass\n',
        }
    )
    answer = orch("run")
    assert answer.code == 1
    assert 'hint: library is in src/: add "src" to pythonpath in the configuration' in answer.out
