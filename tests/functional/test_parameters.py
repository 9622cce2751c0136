"""The signature of `run()` is the command line: options, types, where values come from, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Orch, Project
from tests.support.environments import make_environment_with

TYPED = {
    "src/one.py": '''
        """One."""
        from datetime import date, datetime
        from decimal import Decimal
        from pathlib import Path
        from typing import Literal, Optional
        from uuid import UUID
        from src.kinds import Color
        STAGE = "s"
        def run(
            conn,
            number: int = 1,
            part: float = 0.5,
            path: Path = Path("x"),
            day: date | None = None,
            at: Optional[datetime] = None,
            money: Decimal = Decimal("1"),
            key_id: UUID | None = None,
            kind: Literal["a", "b", 3] = "a",
            paint: Color = Color.RED,
            many: list[int] = [],
            flag: bool = True,
            plain="x",
            count=3,
            none=None,
            frame: object = None,
        ): ...
        ''',
    "src/kinds.py": """
        from enum import Enum
        class Color(Enum):
            RED = "red"
            BLUE = "blue"
        """,
}


def values(orch: Orch, *words: str, **kwargs: Any) -> dict[str, dict[str, Any]]:
    """By tool, the values that a dry run tells, less the defaults."""
    answer = orch("run", "-n", "--json", *words, **kwargs)
    assert answer.code == 0, answer.text
    return {
        step["name"]: {
            name: one["value"] for name, one in step["params"].items() if one["origin"] != "default"
        }
        for step in answer.json["tools"]
    }


def test_every_type_is_an_option_and_what_is_not_known_is_none(
    project: Project, orch: Orch
) -> None:
    project(TYPED)
    uuid = "12345678-1234-5678-1234-567812345678"
    words = f"""--number 2 --part 1.5 --path y --day 2024-01-31 --at 2024-01-31T10:00 --money 1.50
        --key-id {uuid} --kind 3 --paint blue --many 1 --many 2 --no-flag --plain p --count 4
        --none n""".split()
    assert values(orch, *words)["one"] == {
        "number": 2,
        "part": 1.5,
        "path": "y",
        "day": "2024-01-31",
        "at": "2024-01-31T10:00",
        "money": "1.50",
        "key_id": uuid,
        "kind": 3,
        "paint": "blue",
        "many": [1, 2],
        "flag": False,
        "plain": "p",
        "count": 4,
        "none": "n",
    }
    unknown = orch("run", "--frame", "x")
    assert unknown.code == 2
    assert "no such option: --frame" in unknown.err


def test_what_does_not_convert_is_refused_all_at_once_before_anything_starts(
    project: Project, orch: Orch
) -> None:
    project(TYPED)
    words = """--number 1.5 --part x --day 2024-13-01 --at x --money x --key-id x --kind c
        --paint green --many 1 --many x --count x""".split()
    answer = orch("run", *words)
    assert (answer.code, answer.out) == (2, "")
    for said in (
        "invalid --number for one: '1.5' is not a whole number\n  hint: its type in run() is int",
        "invalid --part for one: 'x' is not a number",
        "invalid --day for one: '2024-13-01' is not a date like 2024-01-31",
        "invalid --at for one: 'x' is not a time like 2024-01-31T12:00:00",
        "invalid --money for one: 'x' is not a decimal number",
        "invalid --key-id for one: 'x' is not a UUID",
        "invalid --kind for one: 'c' is not one of a, b, 3",
        "invalid --paint for one: 'green' is not one of red, blue",
        "invalid --many for one: 'x' is not a whole number",
        "invalid --count for one: 'x' is not a whole number",
    ):
        assert f": {said}" in answer.err
    assert answer.err.count("error: src/one.py:") == 10


def test_dashes_and_underscores_are_alike_and_options_stand_anywhere(
    project: Project, orch: Orch
) -> None:
    project({"src/one.py": "STAGE = 's'\ndef run(*, row_limit: int = 1, dry: bool = False): ...\n"})
    for words in (
        ("one", "--row-limit", "5"),
        ("--row_limit", "5", "one"),
        ("--row-limit=5", "one"),
        ("one", "-p", "row-limit=5"),
        ("-p", "row_limit=5", "one"),
        ("-prow_limit=5",),
        ("one", "--row-limit", "3", "--row-limit", "5"),
    ):
        assert values(orch, *words)["one"] == {"row_limit": 5}, words
    assert values(orch, "--row-limit", "-5")["one"] == {"row_limit": -5}


TWO = {
    "src/one.py": "STAGE = 's'\ndef run(*, since: str = 'x', limit: int = 1): ...\n",
    "src/two.py": "STAGE = 's'\ndef run(*, since: int = 1, **kwargs): ...\n",
    "src/three.py": "STAGE = 't'\ndef run(*, other: str = ''): ...\n",
}


def test_command_line_over_environment_over_file_over_default(project: Project, orch: Orch) -> None:
    project({**TWO, "orch.toml": "[params]\nsince = 1\n[params.two]\nsince = 2\n"})
    env = {"ORCH_PARAM_SINCE": "3"}
    assert values(orch, "one", "two") == {"one": {"since": "1"}, "two": {"since": 2}}
    assert values(orch, "one", "two", env=env) == {"one": {"since": "3"}, "two": {"since": 3}}
    assert values(orch, "s", "-p", "since=4", env=env)["two"] == {"since": 4}
    assert values(orch, "s", "--since", "5", "-p", "since=4")["two"] == {"since": 5}
    for_one = values(orch, "one", "two", "--since", "5", "-p", "two.since=6")
    assert for_one == {"one": {"since": "5"}, "two": {"since": 6}}


def test_an_option_of_unselected_tools_alone_is_refused_naming_them(
    project: Project, orch: Orch
) -> None:
    project(TWO)
    answer = orch("run", "three", "--since", "1")
    assert (answer.code, answer.out) == (2, "")
    assert (
        "error: no selected tool has the parameter --since\n  hint: one, two have it: add one"
        in answer.err
    )
    with_p = orch("run", "three", "-p", "limit=1")
    assert 'no selected tool has a parameter "limit" (from -p)\n  hint: one has it' in with_p.err


def test_kwargs_take_what_p_gives_and_never_a_mistyped_option(project: Project, orch: Orch) -> None:
    project(TWO)
    assert values(orch, "two", "-p", "extra=1", "-p", "x-y=z")["two"] == {"extra": "1", "x_y": "z"}
    answer = orch("run", "two", "--sicne", "1")
    assert answer.code == 2
    assert "error: no such option: --sicne\n  hint: did you mean --since?" in answer.err
    assert "did you mean --since?" in orch("run", "--sin", "2024-01-31").err


def test_a_missing_required_parameter_is_refused_wherever_it_could_come_from(
    project: Project, orch: Orch
) -> None:
    project({"src/one.py": "STAGE = 's'\ndef run(conn, day: str): ...\n"})
    answer = orch("run")
    assert (answer.code, answer.out) == (2, "")
    assert "error: src/one.py:2: one requires --day (str)\n  hint: add --day VALUE" in answer.err
    assert values(orch, env={"ORCH_PARAM_DAY": "x"})["one"] == {"day": "x"}
    project({"orch.toml": "params = {day = 2024-01-31}"})
    assert values(orch)["one"] == {"day": "2024-01-31"}


def test_a_secret_is_never_shown_and_never_written_to_disk(project: Project, orch: Orch) -> None:
    root = project(
        {
            "src/one.py": """
                from src.constants import S
                STAGE = S
                def run(*, api_key: str = "default-secret-1", db_password: int = 0, token="tok-2"):
                    ...
                """,
            "src/constants.py": "S = 's'\nAPI_KEY = 'constant-secret-3'\n",
            "orch.toml": "params = {api_key = 'file-secret-4'}",
        }
    )
    secrets = ("default-secret-1", "constant-secret-3", "file-secret-4", "typed-secret-5", "tok-2")
    for words in (
        ("list",),
        ("list", "--json"),
        ("list", "--json"),
        ("run", "-n", "-v"),
        ("run", "-n", "-v", "--api-key", "typed-secret-5"),
        ("run", "-n", "--json", "-p", "api_key=typed-secret-5"),
        ("run", "-n", "--db-password", "typed-secret-5"),
        ("run", "--help"),
        ("check",),
    ):
        answer = orch(*words)
        assert not any(secret in answer.out + answer.err for secret in secrets), answer.text
    assert "api_key = ***  orch.toml" in orch("run", "-n", "-v").out
    for path in (root / ".orch").rglob("*"):
        if path.is_file():
            assert not any(secret in path.read_text("utf-8", "replace") for secret in secrets), path


def test_list_shows_the_default_of_a_path_and_of_an_enum_as_a_value(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "src/kinds.py": """
                from enum import Enum
                class Color(Enum):
                    RED = "red"
                    BLUE = "blue"
                """,
            "src/one.py": """
                from datetime import date
                from enum import IntEnum
                from pathlib import Path
                from src import kinds
                from src.kinds import Color
                STAGE = "s"
                HERE = Path(__file__).parent
                class Level(IntEnum):
                    LOW = 1
                def run(
                    out: Path = Path("data") / "out.csv",
                    also: list[Path] = [Path("a"), Path("b/c")],
                    near: Path = HERE / "x.csv",
                    paint: Color = Color.BLUE,
                    paints: list[kinds.Color] = [kinds.Color.RED, Color.BLUE],
                    level: Level = Level.LOW,
                    gone: Color = Color.GREEN,
                    other: Color = Level.LOW,
                    day: date = date(2024, 1, 31),
                    api_key: Path = Path("secret"),
                ): ...
                """,
        }
    )
    (tool,) = orch("list", "--json").json["tools"]
    assert {one["name"]: one["default"] for one in tool["params"]} == {
        "out": "data/out.csv",
        "also": ["a", "b/c"],
        "near": None,
        "paint": "blue",
        "paints": ["red", "blue"],
        "level": "1",
        "gone": None,
        "other": None,
        "day": None,
        "api_key": None,
    }
    assert tool["params"][0]["default_source"] == "Path('data') / 'out.csv'"
    plan = orch("run", "-n", "--json").json["tools"][0]["params"]
    assert plan["paint"] == {"value": "blue", "origin": "default"}


@pytest.mark.parametrize(
    ("argument", "meant"),
    [
        ("clok", 'did you mean the resource "clock"?'),
        ("connection", 'did you mean "conn", the database connection?'),
        ("db", 'did you mean "conn", the database connection?'),
        ("con: str", 'did you mean "conn", the database connection?'),
        ("count: int", ""),
        ("since", ""),
    ],
)
def test_a_required_parameter_that_looks_like_a_resource_is_refused_with_a_hint(
    project: Project, orch: Orch, argument: str, meant: str
) -> None:
    project(
        {
            "src/a.py": f"STAGE = 's'\ndef run(conn, {argument}): print(clok)\n",
            "orchconf.py": """
                import time
                from discover_orch import resource
                @resource
                def clock(): return time.time
            """,
        }
    )
    refused = orch("run")
    assert refused.code == 2
    flag = "--" + argument.partition(":")[0]
    assert f"src/a.py:2: a requires {flag}" in refused.err
    hint = f"add {flag} VALUE or -p {flag[2:]}=VALUE"
    assert (
        f"hint: {meant} Otherwise {hint}" in refused.err
        if meant
        else f"hint: {hint}" in refused.err
    )


def test_an_argument_that_is_annotated_with_a_connection_is_meant_to_be_conn(
    project: Project, orch: Orch
) -> None:
    project({"src/a.py": "import sqlite3\nSTAGE = 's'\ndef run(source: sqlite3.Connection): ...\n"})
    assert 'did you mean "conn", the database connection?' in orch("list").err


def test_an_enum_of_an_editable_package_becomes_a_type_by_pythonpath(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    python = make_environment_with(tmp_path / "sibling", tmp_path / "venv")
    package = tmp_path / "sibling/shared"
    (package / "kinds.py").write_text("from enum import Enum\nclass Color(Enum):\n    RED = 'r'\n")
    root = project(
        {
            "orch.toml": "",
            "src/a.py": """
                from shared.kinds import Color
                STAGE = "s"
                def run(color: Color): print(color)
            """,
        }
    )
    how: dict[str, Any] = {"prefix": (python,), "env": {"PYTHONPATH": ""}}
    folder = '"../sibling"'
    refused = orch("list", **how)
    assert refused.code == 4
    hint = f"if shared.kinds.Color is an Enum, add {folder} to pythonpath, so that orch can read it"
    assert hint in " ".join(refused.err.split())

    source = (root / "src/a.py").read_text()
    project({"src/a.py": source.replace("color: Color", "color: Color = Color.RED")})
    said = orch("check", **how)
    assert said.code == 0
    assert f"if it is an Enum, add {folder} to pythonpath" in said.out

    project({"orch.toml": f'pythonpath = [".", {folder}]\n', "src/a.py": source})
    assert "Color.RED" in orch("run", "-p", "color=r", **how).out


def test_an_option_of_orch_wins_over_a_parameter_of_its_name(project: Project, orch: Orch) -> None:
    project({"src/a.py": "STAGE = 's'\ndef run(*, output: str = 'x'): print('output', output)\n"})
    ran = orch("run", "--output", "none")
    assert ran.code == 0
    assert "output" not in ran.out
    assert "output mine" in orch("run", "-p", "output=mine").out
    assert "-p output=VALUE" in orch("run", "--help").out


def test_a_name_that_is_a_flag_here_and_takes_a_value_there_is_set_for_each_tool(
    project: Project, orch: Orch
) -> None:
    tool = "STAGE = 's'\ndef run(*, dry_run: {} = {}): print(repr(dry_run))\n"
    project({"src/a.py": tool.format("bool", "False"), "src/b.py": tool.format("str", "''")})
    for words in ("--dry-run", "--no-dry-run", "a --dry_run", "b --dry-run=x"):
        answer = orch("run", *words.split())
        assert (answer.code, answer.out) == (2, ""), words
        said = " ".join(answer.err.split())
        assert "--dry-run is a flag for a and takes a value for b" in said
        assert "hint: set it with -p a.dry_run=true or -p b.dry_run=VALUE" in said
    ran = orch("run", "-p", "a.dry_run=true", "-p", "b.dry_run=x")
    assert ran.code == 0, ran.text
    assert "True\n" in ran.out
    assert "'x'\n" in ran.out
    shown = orch("run", "--help").out
    assert "-p a.dry_run=VALUE" in shown
    assert "-p b.dry_run=VALUE" in shown
    assert "--no-dry" not in shown
    assert "a.dry_run=true" in orch("check").out


def test_one_value_with_commas_for_a_list_is_said_once_with_the_way_to_give_several(
    project: Project, orch: Orch
) -> None:
    tool = "STAGE = 's'\ndef run(symbols: list[str] = [], *, n: list[int] = []): print(symbols)\n"
    project({"src/a.py": tool, "src/b.py": tool})
    flags = "for several values, repeat the option: --symbols AAPL --symbols GOOG"
    for words, hint in (
        (["--symbols", "AAPL,GOOG,MSFT"], flags),
        (["-p", "symbols=AAPL, GOOG"], "repeat the option: -p symbols=AAPL -p symbols=GOOG"),
    ):
        answer = orch("run", *words)
        assert answer.code == 0
        said = " ".join(answer.err.split())
        assert said.count("warning: --symbols gets one value with commas: AAPL,") == 1
        assert hint in said
    refused = orch("run", "--n", "1,2")
    assert refused.code == 2
    assert "for several values, repeat the option: --n 1 --n 2" in refused.err
    assert "gets one value" not in orch("run", "--symbols", "AAPL", "--symbols", "GOOG").text
    assert "gets one value" not in orch("run", env={"ORCH_PARAM_SYMBOLS": "AAPL,GOOG"}).text
    assert "['AAPL', 'GOOG']" in orch("run", env={"ORCH_PARAM_SYMBOLS": "AAPL,GOOG"}).out
    help_text = orch("run", "--help").out
    assert "--symbols STR ..." in help_text
    assert "--n INT ..." in help_text
    assert "--symbols STR ...  --n INT ..." in orch("list").out
    project({"orch.toml": 'params = {symbols = "AAPL,GOOG"}\n'})
    assert 'write a list: symbols = ["AAPL", "GOOG"]' in orch("run").err


def test_a_word_that_may_be_one_more_value_of_an_option_is_answered_with_how_to_give_several(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "src/a.py": "STAGE = 's'\ndef run(*, log_levels: list[str], n: int = 1): print(log_levels)\n"
        }
    )
    again = (
        "one more value of --log-levels, repeat the option: --log-levels VALUE --log-levels VALUE"
    )
    for words, times in {
        "--log-levels ERROR INFO": 1,
        "a --log_levels=E I W": 2,
        "--n 2 INFO": 0,
    }.items():
        answer = orch("run", *words.split())
        assert (answer.code, answer.out) == (2, ""), words
        assert " ".join(answer.err.split()).count(again) == times, words
    answer = orch("run", "--log-levels", "ERROR", "--log-levels", "INFO")
    assert answer.code == 0, answer.text
