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


def test_everything_runs_in_the_order_of_the_stages(project: Project, orch: Orch) -> None:
    project(
        {
            "orch.toml": 'stages = ["first", "second"]',
            "src/a.py": show("a", "second"),
            "src/b.py": show("b", "first"),
            "src/c.py": show("c", "second") + '    AFTER = "d"\n',
            "src/d.py": show("d", "second"),
        }
    )
    answer = orch("run", "--json")
    assert answer.code == 0, answer.text
    assert answer.events[0]["tools"] == ["b", "a", "d", "c"]
    assert [one["name"] for one in answer.events if one["event"] == "tool_started"] == [
        "b",
        "a",
        "d",
        "c",
    ]


def test_exactly_the_tools_that_were_typed_run_in_that_order(project: Project, orch: Orch) -> None:
    project({f"src/{name}.py": show(name, "s") for name in "abc"})
    answer = orch("run", "c", "a")
    assert answer.code == 0, answer.text
    assert "this is c\n    ✓" in answer.out
    assert answer.out.index("this is c") < answer.out.index("this is a")
    assert "this is b" not in answer.out


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


def test_options_may_stand_before_and_after_the_targets(project: Project, orch: Orch) -> None:
    root = project(
        {"src/a.py": 'STAGE = "s"\ndef run(*, since: str = ""): print("since", since)\n'}
    )
    for words in (["--since", "x", "a"], ["a", "--since=x"], ["-p", "since=x", "a"]):
        assert "since x" in orch("run", *words).out
    assert "since x" in orch("-C", str(root), "run", "a", "--since", "x", cwd=root.parent).out


def test_a_file_is_a_target_relative_to_where_it_was_typed(project: Project, orch: Orch) -> None:
    root = project({"orch.toml": "", "src/deep/a.py": show("a", "s"), "src/b.py": show("b", "s")})
    answer = orch("run", "a.py", cwd=root / "src" / "deep")
    assert answer.code == 0, answer.text
    assert "this is a" in answer.out
    assert "this is b" not in answer.out
