"""What a user sees of a tool that fails: where, what, and how to go on. Never a frame of orch's own."""

from __future__ import annotations

import pytest

from tests.conftest import Orch, Project
from tests.support.project_builder import Answer


def fails(*lines: str, top: str = "") -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f'STAGE = "s"\n{top}\ndef run():\n{body}'


def summary(answer: Answer) -> str:
    """The line of the short summary for the one tool that failed."""
    (line,) = [line for line in answer.out.splitlines() if line.startswith("FAILED ")]
    return line


SAID_OF_FAILURES = [
    ("raise ValueError('no')", "src/NAME.py:4  ValueError: no"),
    ("raise ValueError('first\\nsecond')", "src/NAME.py:4  ValueError: first"),
    ("assert 1 == 2", "src/NAME.py:4  AssertionError"),
    ("raise BaseException('mine')", "src/NAME.py:4  BaseException: mine"),
    (
        "raise ExceptionGroup('two', [KeyError('k'), OSError('o')])",
        "src/NAME.py:4  ExceptionGroup: two (2 sub-exceptions)",
    ),
    ("import sys; sys.exit(0)", "src/NAME.py:4  called sys.exit(0)"),
    ("import sys; sys.exit('enough')", "src/NAME.py:4  called sys.exit: enough"),
    ("import os; os._exit(7)", "src/NAME.py  exited with code 7"),
    (
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "src/NAME.py  was killed by SIGKILL (out of memory?)",
    ),
    ("import ctypes; ctypes.string_at(0)", "src/NAME.py:4  crashed with SIGSEGV"),
    ("import sys; sys.stdout.close(); print(1)", "ValueError: I/O operation on closed file."),
    ("breakpoint()", "src/NAME.py:4  breakpoint() needs a terminal"),
    ("input('name? ')", "src/NAME.py:4  EOFError: EOF when reading a line"),
]


def test_the_summary_says_where_and_what(project: Project, orch: Orch) -> None:
    named = {f"t{number:02}": one for number, one in enumerate(SAID_OF_FAILURES)}
    project({f"src/{name}.py": fails(body, top="AFTER = ()") for name, (body, _) in named.items()})
    answer = orch("run")
    assert answer.code == 1, answer.text
    for name, (_, said) in named.items():
        (line,) = [one for one in answer.out.splitlines() if one.startswith(f"FAILED {name} ")]
        assert line.startswith(f"FAILED {name} src/{name}.py")
        assert said.replace("NAME", name) in line
    assert "\ncrashed with SIGSEGV\n" in answer.out
    assert f"{len(named)} failed in " in answer.out
    assert "discover_orch" not in answer.out
    assert answer.err == ""


def test_what_a_failure_blocks_and_how_to_go_on_follow_the_summary(
    project: Project, orch: Orch
) -> None:
    project({"src/a.py": fails("raise ValueError('no')"), "src/b.py": fails("open('ran', 'w')")})
    answer = orch("run")
    assert answer.code == 1, answer.text
    assert summary(answer) == "FAILED a src/a.py:4  ValueError: no"
    end = "  blocked by a: b\n  resume with: orch run --resume\n1 failed, 1 blocked in "
    assert end in answer.out
    assert answer.err == ""


def test_a_library_is_one_line_of_the_traceback(project: Project, orch: Orch) -> None:
    project({"src/a.py": fails("import json", "json.loads('{')")})
    answer = orch("run")
    lines = answer.out.splitlines()
    at = lines.index("Traceback (most recent call last):")
    # Newer Pythons mark the place below the line of source.
    shown = [line for line in lines[at + 1 : at + 6] if line.strip(" ~^")]
    assert shown[:3] == [
        '  File "src/a.py", line 5, in run',
        "    json.loads('{')",
        "  ... 3 frames in json",
    ]
    assert shown[3].startswith("json.decoder.JSONDecodeError: Expecting property name")


def test_verbose_shows_the_frames_of_libraries_too(project: Project, orch: Orch) -> None:
    project({"src/a.py": fails("import json", "json.loads('{')")})
    answer = orch("run", "-v")
    assert "frames in" not in answer.out
    assert 'json/decoder.py", line' in answer.out
    assert "discover_orch" not in answer.out


def test_the_users_frames_between_those_of_libraries_stay(project: Project, orch: Orch) -> None:
    project({"src/a.py": fails("import re", "re.sub('a', lambda found: 1 / 0, 'a')")})
    answer = orch("run")
    lines = [line.rstrip() for line in answer.out.splitlines()]
    frames = [line for line in lines if line.startswith(("  File", "  ..."))]
    assert frames == [
        '  File "src/a.py", line 5, in run',
        "  ... 1 frame in re",
        '  File "src/a.py", line 5, in <lambda>',
    ]


def test_installed_packages_are_libraries_and_modules_of_the_project_are_not(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "site-packages/installed.py": "def call(f):\n    return f()\n",
            "src/helper.py": "from installed import call\ndef helps():\n    call(lambda: 1 / 0)\n",
            "src/a.py": 'from src.helper import helps\nSTAGE = "s"\ndef run():\n    helps()\n',
            "orch.toml": 'pythonpath = [".", "site-packages"]',
        }
    )
    answer = orch("run")
    frames = [line for line in answer.out.splitlines() if line.startswith(("  File", "  ..."))]
    assert frames == [
        '  File "src/a.py", line 4, in run',
        '  File "src/helper.py", line 3, in helps',
        "  ... 1 frame in installed",
        '  File "src/helper.py", line 3, in <lambda>',
    ]
    assert summary(answer).startswith("FAILED a src/helper.py:3  ZeroDivisionError")


def test_the_event_loop_above_an_async_run_is_no_matter_of_the_users(
    project: Project, orch: Orch
) -> None:
    project({"src/a.py": 'STAGE = "s"\nasync def run():\n    raise ValueError("no")\n'})
    for words in ([], ["-v"]):
        answer = orch("run", *words)
        assert "asyncio" not in answer.out
        assert 'last):\n  File "src/a.py", line 3, in run\n' in answer.out


def test_values_of_locals_are_never_shown(project: Project, orch: Orch) -> None:
    project({"src/a.py": fails("hidden = 6 * 7 * 1000", "raise ValueError")})
    assert "42000" not in orch("run", "-v").out


def test_a_module_that_raises_when_it_is_imported_shows_its_line(
    project: Project, orch: Orch
) -> None:
    project({"src/a.py": fails("pass", top="1 / 0")})
    answer = orch("run")
    assert 'last):\n  File "src/a.py", line 2, in <module>\n    1 / 0\n' in answer.out
    assert summary(answer) == "FAILED a src/a.py:2  ZeroDivisionError: division by zero"


def test_a_deep_recursion_is_shown_in_short(project: Project, orch: Orch) -> None:
    project({"src/a.py": fails("run()")})
    answer = orch("run")
    assert "more times]" in answer.out
    assert answer.out.count("\n") < 30
    assert summary(answer).startswith("FAILED a src/a.py:4  RecursionError")


def test_a_forked_child_that_raises_is_output_without_frames_of_orch(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "src/a.py": fails(
                "import os",
                "if os.fork() == 0: raise ValueError('in the child')",
                "os.wait(); print('the parent goes on')",
            )
        }
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert "    ValueError: in the child\n" in answer.out
    assert "the parent goes on" in answer.out
    assert "discover_orch" not in answer.out


TELLS = 'open("ran", "a").write(f"{__name__[4:]} {since} {dry}\\n")'
GO_ON = {
    "orch.toml": 'stages = ["load", "both"]\n[groups]\nlast = ["both"]\n',
    "src/load.py": 'STAGE = "load"\ndef run(*, source: str = "", since: str = ""): pass\n',
    "src/both.py": 'STAGE = "both"\ndef run(*, since: str = "", dry: bool = False): 1 / 0\n',
    "src/last.py": f'STAGE = "both"\nAFTER = "tool:both"\ndef run(*, since="", dry=False): {TELLS}\n',
}
MENDED = f'STAGE = "both"\ndef run(*, since: str = "", dry: bool = False): {TELLS}\n'


@pytest.mark.parametrize(
    ("words", "ran"),
    [
        # What has passed does not run again; a stage or a group of the name is not meant.
        ("", "both  False\nlast  False\n"),
        ("--dry -p load.since=1 -p both.since=2 full", "both 2 True\nlast  True\n"),
        ("--since=it's -- both", "both it's False\nlast it's False\n"),
    ],
)
def test_the_command_that_goes_on_can_be_typed_as_it_is(
    project: Project, orch: Orch, words: str, ran: str
) -> None:
    root = project(GO_ON)
    answer = orch("run", *words.split())
    assert answer.code == 1, answer.text
    assert "  resume with: orch run --resume\n" in answer.out
    project({"src/both.py": MENDED})
    again = orch("run", "--resume")
    assert again.code == 0, again.text
    assert (root / "ran").read_text() == ran


def test_the_command_that_goes_on_names_the_project(project: Project, orch: Orch) -> None:
    root = project(GO_ON)
    for words in (("-C", "project", "run"), ("run", "-C", "project")):
        answer = orch(*words, cwd=root.parent)
        assert "resume with: orch -C project run --resume\n" in answer.out
    project({"src/both.py": MENDED})
    assert orch("-C", "project", "run", "--resume", cwd=root.parent).code == 0


def test_a_tool_that_clears_the_loaded_modules_harms_no_other(project: Project, orch: Orch) -> None:
    root = project(
        {
            "src/a.py": "import sys\nSTAGE = 's'\nORCH = {'outputs': ['*.txt']}\n"
            "def run(conn):\n    open('x.txt', 'w').close()\n    sys.modules.clear()\n",
            "src/b.py": "import json, os, warnings\nSTAGE = 's'\nAFTER = 'a'\n"
            "def run(conn):\n    print(conn.execute('SELECT 1').fetchone(), os.getcwd())\n",
        }
    )
    answer = orch("run", cwd=root)
    assert (answer.code, "Traceback" in answer.text) == (0, False), answer.text


def test_a_tool_that_removes_itself_while_it_is_loaded_is_told_so(
    project: Project, orch: Orch
) -> None:
    root = project({"src/a.py": "import sys\nSTAGE = 's'\nsys.modules.clear()\ndef run(): pass\n"})
    answer = orch("run", cwd=root)
    assert answer.code == 1
    assert "src/a.py removes itself from sys.modules while it is loaded" in answer.text
    assert "Traceback" not in answer.text
