"""What is a tool and what is not, as `orch list` tells it."""

from __future__ import annotations

import os

from tests.conftest import Orch, Project
from tests.support.project_builder import Answer
from tests.support.running import running

TOOL = "STAGE = 'ingest'\ndef run(): ...\n"


def names(answer: Answer) -> list[str]:
    return [tool["name"] for tool in answer.json["tools"]]


def errors(answer: Answer) -> list[str]:
    """Each as `path:line: message`."""
    return [f"{one['path']}:{one['line']}: {one['message']}" for one in answer.json["errors"]]


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


def test_a_constant_that_is_nearly_stage_is_named(project: Project, orch: Orch) -> None:
    run = "\ndef run(): ...\n"
    project(
        {
            "src/tool.py": TOOL,
            "src/many.py": "STAGES = 'ingest'" + run,
            "src/small.py": "stage = 'ingest'" + run,
            "src/list_of_stages.py": "STAGES = ['ingest']" + run,  # an orchestrator by hand
            "src/state.py": "STATE = 'ingest'" + run,
        }
    )
    checked = orch("check")
    message = "warning: src/{0}.py:2: has run() and {1}, but no STAGE: it is not a tool\n"
    assert message.format("many", "STAGES") in checked.out
    assert "\n  hint: rename stage to STAGE if this is a tool\n" in checked.out
    assert checked.out.endswith("0 errors, 2 warnings (1 tool without errors)\n")
    assert message.format("many", "STAGES") in orch("run").err
    assert "  src/small.py:2  has run() and stage, but no STAGE\n" in orch("list", "-v").out


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
    assert "warning: src/settings.py:2: has STAGE but no run()" in answer.err
    project({"orch.toml": "strict = true"})
    strict = orch("list")
    assert strict.code == 4
    assert "error: src/settings.py:2: has STAGE but no run()" in strict.err
    assert orch("run", "-n").code == 4
    assert orch("run", "-n", "tool").code == 0, "another run goes on"


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
    sources = [one["source"] for one in answer.json["errors"] if "source" in one]
    assert len(sources) == 3
    assert len(answer.err.splitlines()) == 2 * len(told) + len(sources)
    assert "Traceback" not in answer.err


def test_a_syntax_error_is_shown_with_the_text_of_its_line(project: Project, orch: Orch) -> None:
    line = f'x = "\x1b[2J" 1; print("{"a long line " * 20}")'
    root = project({"orch.toml": "", "src/a.py": f"STAGE = 's'\ndef run():\n    {line}\n"})
    text = 'error: src/a.py:3: not valid Python: invalid syntax\n    x = "\\x1b[2J" 1; print('
    for words in (("list",), ("check",), ("run",), ("run", "-n"), ("status",)):
        shown = orch(*words)
        assert shown.code == 4
        assert text in shown.text
        assert max(map(len, shown.text.splitlines()[1:2])) <= 80
    assert orch("list", "--json").json["errors"][0]["source"] == line
    assert orch("run", "--json").events[-1]["errors"][0]["source"] == line
    assert "…\n  hint: fix the syntax error" in orch("list").err
    with running(root, "watch", "--no-initial") as watch:
        watch.wait_for(r'invalid syntax\n    x = "\\x1b\[2J" 1; print\(.*…\n  hint')


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


def test_a_constant_of_orchconf_gives_a_stage_at_every_look(project: Project, orch: Orch) -> None:
    files = {"src/x.py": "from orchconf import S\nSTAGE = S\ndef run(): ...\n"}
    project({**files, "orchconf.py": "S = 'ingest'\ndef get_connection(): ...\n"})
    assert orch("list").code == 0
    project({"src/y.py": TOOL})
    answer = orch("list", "--json")
    assert (answer.code, names(answer)) == (0, ["x", "y"]), answer.text


def test_a_wrong_age_or_mark_in_the_tag_is_an_error_on_its_line(
    project: Project, orch: Orch
) -> None:
    tags = {
        "a": '"max_age": "1 day"',
        "b": '"max_age": 0',
        "c": '"repeatable": "yes"',
        "d": '"max_ages": "1d"',
        "good": '"max_age": "1d", "repeatable": True, "inputs": [], "outputs": []',
    }
    project(
        {f"src/{name}.py": f"{TOOL}ORCH = {{\n    {tag}}}\n" for name, tag in tags.items()},
    )
    answer = orch("list", "--json")
    assert errors(answer) == [
        "src/a.py:4: \"max_age\" in ORCH must be an age or a number of seconds, not '1 day'",
        'src/b.py:4: "max_age" in ORCH must be more than 0, not 0',
        'src/c.py:4: "repeatable" in ORCH must be True or False, not a string',
        'src/d.py:4: unknown key "max_ages" in ORCH',
    ]
    assert names(answer) == ["good"]
    assert 'for example "max_age": "1d", "6h", "30m", "45s" or seconds' in orch("check").out


def test_a_run_that_yields_is_an_error_since_calling_it_would_execute_nothing(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "src/a.py": """
                STAGE = "s"
                def run(conn):
                    for n in range(3):
                        yield n
            """,
            "src/b.py": "STAGE = 's'\nasync def run():\n    yield 1\n",
            "src/lib/rows.py": "def run():\n    yield 1\n",
            "src/c.py": "from src.lib.rows import run\nSTAGE = 's'\n",
            "src/fine.py": "STAGE = 's'\ndef run(): [*map(lambda: (yield), ())]\n",
        }
    )
    answer = orch("list")
    assert answer.code == 4
    for place in ("src/a.py:5", "src/b.py:3", "src/c.py:1"):
        assert f"error: {place}: run() contains yield, so calling it would execute nothing" in (
            answer.err
        )
    assert answer.err.count("error:") == 3
    assert orch("run").code == 4
    assert orch("run", "fine").code == 0


def test_a_positional_only_argument_without_a_default_is_an_error_where_run_stands(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "src/lib/loads.py": "\n\n\n\ndef load(conn, /, since=None): ...\n",
            "src/a.py": "from src.lib.loads import load as run\nSTAGE = 's'\n",
            "src/b.py": "STAGE = 's'\ndef run(limit=3, /, *, since=None): ...\n",
        }
    )
    answer = orch("list")
    assert answer.code == 4
    assert 'error: src/a.py:1: argument "conn" of run() is positional-only' in answer.err
    assert answer.err.count("error:") == 1
