"""What is a tool and what is not, as `orch list` tells it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.permissions import bound_by_permissions
from tests.support.project_builder import Answer, clean_environment

TOOL = "STAGE = 'ingest'\ndef run(): ...\n"


def names(answer: Answer) -> list[str]:
    return [tool["name"] for tool in answer.json["tools"]]


def errors(answer: Answer) -> list[str]:
    """Each as `path:line: message`."""
    return [f"{one['path']}:{one['line']}: {one['message']}" for one in answer.json["errors"]]


def test_a_module_with_a_stage_and_a_run_is_a_tool(project: Project, orch: Orch) -> None:
    project(
        {
            "src/plain.py": "STAGE = 'a'\ndef run(): ...\n",
            "src/annotated.py": "STAGE: str = 'a'\nasync def run(): ...\n",
            "src/several.py": "STAGE = ('a', 'b')\ndef run(): ...\n",
            "src/listed.py": "STAGE = ['b']\nrun = lambda: None\n",
            "src/imported.py": "from os import getcwd as run\nSTAGE = 'a'\n",
            "src/last.py": "STAGE = 'x'\nSTAGE = 'a'\ndef run(): ...\n",
            "src/enum_member.py": """
                from src.kinds import Stage
                STAGE = Stage.A
                def run(): ...
                """,
            "src/constant.py": "import src.kinds\nSTAGE = src.kinds.B\ndef run(): ...\n",
            "src/kinds.py": """
                from enum import StrEnum
                B = "b"
                class Stage(StrEnum):
                    A = "a"
                """,
            "src/package/__init__.py": "STAGE = 'b'\ndef run(): ...\n",
        }
    )
    answer = orch("list", "--json")
    assert answer.code == 0, answer.text
    stages = {stage["name"]: stage["tools"] for stage in answer.json["stages"]}
    assert stages == {
        "a": ["annotated", "enum_member", "imported", "last", "plain", "several"],
        "b": ["constant", "listed", "package", "several"],
    }


def test_text_in_strings_comments_functions_and_classes_never_counts(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "src/tool.py": TOOL,
            "src/string.py": "TEXT = '''\nSTAGE = 'ingest'\n'''\ndef run(): ...\n",
            "src/comment.py": "# STAGE = 'ingest'\ndef run(): ...\n",
            "src/function.py": "def run():\n    STAGE = 'ingest'\n",
            "src/klass.py": "class A:\n    STAGE = 'ingest'\ndef run(): ...\n",
        }
    )
    answer = orch("list", "--json")
    assert (answer.code, names(answer), answer.json["warnings"]) == (0, ["tool"], [])


def test_stage_none_switches_a_tool_off_and_lists_it_as_disabled(
    project: Project, orch: Orch
) -> None:
    project({"src/on.py": TOOL, "src/off.py": "STAGE = None\ndef run(): ...\n"})
    answer = orch("list")
    assert "disabled\n  off" in answer.out
    assert "1 tool in 1 stage, 1 disabled" in answer.out
    refused = orch("run", "-n", "off")
    assert refused.code == 2
    assert 'error: src/off.py:2: "off" is disabled' in refused.err


def test_files_that_are_no_tools_by_their_name_or_place_are_passed_over(
    project: Project, orch: Orch
) -> None:
    root = project(
        dict.fromkeys(
            (
                "src/tool.py",
                "src/test_x.py",
                "src/x_test.py",
                "src/conftest.py",
                "src/orchconf.py",
                "src/__main__.py",
                "src/.hidden.py",
                "src/.folder/x.py",
                "src/__pycache__/x.py",
                "src/venv/x.py",
                "src/node_modules/x.py",
                "src/build/x.py",
                "src/dist/x.py",
                "src/left/x.py",
            ),
            TOOL,
        )
    )
    project({"src/venv/pyvenv.cfg": "", "orch.toml": 'exclude = ["left/"]'})
    os.mkfifo(root / "src" / "fifo.py")
    answer = orch("list", "-v", "--json")
    assert (answer.code, names(answer)) == (0, ["tool"])
    told = {one["path"]: one["reason"] for one in answer.json["passed_over"]}
    assert told["src/venv"] == "a virtual environment"
    assert told["src/left"] == "excluded by the configuration"
    assert told["src/fifo.py"] == "not a regular file"
    assert told["src/test_x.py"] == "its name says that it is no tool"


def test_near_misses_are_named_by_list_v_with_their_line(project: Project, orch: Orch) -> None:
    project(
        {
            "src/tool.py": TOOL,
            "src/untagged.py": "import os\n\ndef run(): ...\n",
            "src/foreign.py": "from src.tool import STAGE\ndef run(): ...\n",
        }
    )
    assert "untagged" not in orch("list").out
    answer = orch("list", "-v")
    assert "src/untagged.py:3  has run() but no STAGE" in answer.out
    assert "src/foreign.py:1  STAGE is imported" in answer.out


def test_a_stage_without_run_is_a_warning_and_an_error_under_strict(
    project: Project, orch: Orch
) -> None:
    project({"src/settings.py": "import os\nSTAGE = os.environ['S']\n", "src/tool.py": TOOL})
    answer = orch("list")
    assert answer.code == 0
    assert "warning: src/settings.py:2: STAGE without a run() is no tool" in answer.err
    project({"orch.toml": "strict = true"})
    strict = orch("list")
    assert strict.code == 4
    assert "error: src/settings.py:2: STAGE without a run() is no tool" in strict.err
    assert orch("run", "-n").code == 4
    assert orch("run", "-n", "tool").code == 0, "another run goes on"


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("if True:\n    STAGE = 'a'\n", 2, "STAGE is set inside `if`"),
        ("try:\n    STAGE = 'a'\nfinally:\n    pass\n", 2, "STAGE is set inside `try`"),
        ("for STAGE in 'ab':\n    pass\n", 1, "STAGE is set inside `for`"),
        ("STAGE, B = 'a', 'b'\n", 1, "STAGE is set by unpacking"),
        ("import os\nSTAGE = os.environ['S']\n", 2, "STAGE cannot be told from the source"),
        ("STAGE = 3\n", 1, "STAGE cannot be told from the source, as it is a number"),
        ("STAGE = ''\n", 1, "STAGE holds an empty string"),
        ("STAGE = ()\n", 1, "STAGE names no stage"),
        ("STAGE = ('a', 1)\n", 1, "STAGE cannot be told from the source"),
    ],
)
def test_a_stage_that_cannot_be_told_says_which_forms_are_accepted(
    text: str, line: int, what: str, project: Project, orch: Orch
) -> None:
    project({"src/x.py": text + "def run(): ...\n"})
    answer = orch("list")
    assert answer.code == 4
    assert f"error: src/x.py:{line}: {what}" in answer.err
    assert "a string, a tuple or list of strings" in answer.err


def test_each_broken_file_is_one_line_and_hides_nothing(project: Project, orch: Orch) -> None:
    project(
        {
            "src/good.py": TOOL,
            "src/bytes.py": b"STAGE = 'a'\nX = '\xff'\n",
            "src/cookie.py": "# coding: klingon\nSTAGE = 'a'\n",
            "src/null.py": "STAGE = 'a'\nX = '\0'\n",
            "src/syntax.py": "STAGE = 'a'\ndef run(:\n",
            "src/conflict.py": "<<<<<<< HEAD\nSTAGE = 'a'\n=======\nSTAGE = 'b'\n>>>>>>> x\n",
            "src/deep.py": "STAGE = 'a'\nX = " + "(" * 3000 + ")" * 3000 + "\n",
            "src/deeper.py": "STAGE = 'a'\nX = " + "-" * 100_000 + "1\n",
            "src/large.py": "STAGE = 'a'\n" + "#" * 2_100_000,
            "src/wordless.py": "def broken(:\n",
        }
    )
    answer = orch("list", "--json")
    assert answer.code == 4
    assert names(answer) == ["good"]
    told = errors(answer)
    assert [one.split(": ")[0] for one in told] == [
        "src/bytes.py:2",
        "src/conflict.py:1",
        "src/cookie.py:1",
        "src/deep.py:2",
        "src/deeper.py:2",
        "src/large.py:None",
        "src/null.py:2",
        "src/syntax.py:2",
    ]
    assert all(one["hint"] for one in answer.json["errors"])
    assert len(answer.err.splitlines()) == 2 * len(told)
    assert "Traceback" not in answer.err


def test_what_may_not_be_read_is_told_and_hides_nothing(project: Project, orch: Orch) -> None:
    root = project({"src/good.py": TOOL, "src/closed.py": TOOL, "src/folder/x.py": TOOL})
    (root / "src/closed.py").chmod(0)
    (root / "src/folder").chmod(0)
    try:
        answer = orch("list", prefix=bound_by_permissions())
    finally:
        (root / "src/folder").chmod(0o755)
    assert answer.code == 4
    assert "  good" in answer.out
    assert "error: src/closed.py: cannot be read: Permission denied" in answer.err
    assert "warning: src/folder: cannot be listed: Permission denied" in answer.err


def test_links_are_followed_once_and_loops_end(project: Project, orch: Orch) -> None:
    root = project({"src/real/tool.py": TOOL, "outside/other.py": TOOL})
    for link, target in (
        ("src/again", "real"),
        ("src/loop", "."),
        ("src/self.py", "self.py"),
        ("src/dangling.py", "nowhere.py"),
        ("src/.#lock.py", "user@host.1234"),
        ("src/far", "../outside"),
    ):
        (root / link).symlink_to(target)
    answer = orch("list", "--json")
    assert answer.code == 0, answer.text
    assert [tool["path"] for tool in answer.json["tools"]] == [
        "src/far/other.py",
        "src/real/tool.py",
    ]


def test_a_name_that_python_cannot_import_is_a_warning_with_a_stage_in_it(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "src/good.py": TOOL,
            "src/x (copy).py": TOOL,
            "src/bad-folder/x.py": TOOL,
            "src/1x.py": "x = 1\n",
        }
    )
    answer = orch("list")
    assert answer.code == 0
    assert "warning: src/x (copy).py:1: has a STAGE, but its name cannot be imported" in answer.err
    assert "warning: src/bad-folder/x.py:1: has a STAGE, but the folder name" in answer.err
    assert "1x" not in answer.err


def test_odd_names_of_files_are_shown_escaped(project: Project, orch: Orch) -> None:
    root = project({"src/é.py": TOOL, "src/new\nline.py": TOOL, "src/rtl\u202e.py": TOOL})
    with open(os.fsencode(root) + b"/src/\xff\x80.py", "w", encoding="utf-8") as file:
        file.write(TOOL)
    answer = orch("list")
    assert answer.code == 0, answer.text
    assert "src/é.py" in answer.out
    for shown in (r"src/new\nline.py", r"src/rtl\u202e.py", r"src/\udcff\udc80.py"):
        assert shown in answer.err
    assert "\u202e" not in answer.err
    assert len(orch("list", "--json").json["warnings"]) == 3


def test_control_codes_in_the_users_text_never_reach_the_terminal(
    project: Project, orch: Orch
) -> None:
    project({"src/x.py": '"""Red \\x1b[31m and \\x07 bell."""\n' + TOOL})
    for words in (("list",), ("list", "--color", "always"), ("run", "-n"), ("run", "--help")):
        assert "\x1b[31m" not in orch(*words).out, words
        assert "\x07" not in orch(*words).out, words


def test_a_module_that_vanishes_while_it_is_read_is_no_tool(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    """A folder on the path whose file goes between the walk and the read, as deleted by another."""
    root = project({"src/good.py": TOOL, "src/going.py": TOOL})
    program = (
        "import os, sys\n"
        "from discover_orch.discovery import parse_files\n"
        "from discover_orch.cli.app import run_command_line\n"
        "read = parse_files._read_file\n"
        "def vanish(root, path, module):\n"
        "    if path.endswith('going.py'):\n"
        "        os.unlink(os.path.join(root, path))\n"
        "    return read(root, path, module)\n"
        "parse_files._read_file = vanish\n"
        "sys.exit(run_command_line(['list']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "good" in done.stdout
    assert "going" not in done.stdout + done.stderr


def test_orch_keys_are_checked_with_the_line_and_the_nearest_key(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "src/x.py": """
                STAGE = "ingest"
                ORCH = {
                    "retires": 3,
                    "retries": -1,
                    "timeout": "soon",
                    "inputs": 3,
                    "cancel": 1,
                    "name": "a b",
                    "tokens": {"gpu": 0},
                }
                def run(): ...
                """,
            "src/y.py": "STAGE = 'ingest'\nORCH = dict(retries=1)\ndef run(): ...\n",
        }
    )
    answer = orch("list")
    assert answer.code == 4
    for text in (
        'src/x.py:4: ORCH has no key "retires"\n  hint: did you mean "retries"?',
        'src/x.py:5: "retries" in ORCH is -1; it must be 0 or more',
        'src/x.py:6: "timeout" in ORCH is a string, not a number of seconds',
        'src/x.py:7: "inputs" in ORCH is a number, not a path or a list of paths',
        'src/x.py:8: "cancel" in ORCH is a number, not True or False',
        "src/x.py:9: \"name\" in ORCH is 'a b'",
        'src/x.py:10: "tokens" in ORCH asks for 0 of "gpu"',
        "src/y.py:2: ORCH is no literal dict",
    ):
        assert f"error: {text}" in answer.err


def test_an_argument_that_nobody_can_give_is_an_error(project: Project, orch: Orch) -> None:
    project(
        {
            "src/x.py": "STAGE = 'a'\ndef run(frame: object): ...\n",
            "src/y.py": "STAGE = 'a'\ndef run(htpp: object): ...\n",
            "src/z.py": "STAGE = 'a'\ndef run(http, frame: object = None): ...\n",
            "orchconf.py": """
                from discover_orch import resource
                @resource
                def http(): ...
                """,
        }
    )
    answer = orch("list")
    assert answer.code == 4
    assert 'error: src/x.py:2: "frame" of run() is neither a resource nor of a type' in answer.err
    assert 'did you mean the resource "http"?' in answer.err
    assert "z" in answer.out
    assert "frame" not in answer.out, "an annotation that orch does not know is no option"


def test_resources_that_cannot_be_given_are_told(project: Project, orch: Orch) -> None:
    project(
        {
            "src/x.py": TOOL,
            "orchconf.py": """
                from discover_orch import resource
                @resource
                def http(session): ...
                @resource
                def one(two): ...
                @resource
                def two(one): ...
                """,
        }
    )
    answer = orch("list")
    assert answer.code == 4
    assert 'error: orchconf.py:4: resource "http" takes "session", which nobody gives' in answer.err
    assert "resources need each other in a circle" in answer.err
    assert orch("run", "-n", "x").code == 4, "orchconf.py is loaded before any tool"


def test_a_constant_of_orchconf_gives_a_stage_at_every_look(project: Project, orch: Orch) -> None:
    files = {"src/x.py": "from orchconf import S\nSTAGE = S\ndef run(): ...\n"}
    project({**files, "orchconf.py": "S = 'ingest'\ndef get_connection(): ...\n"})
    assert orch("list").code == 0
    project({"src/y.py": TOOL})
    answer = orch("list", "--json")
    assert (answer.code, names(answer)) == (0, ["x", "y"]), answer.text
