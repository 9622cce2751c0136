"""Orchestrators in many shapes: their tools, lists and flags are found, or what is not is said with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from discover_orch.model.errors import ProjectError
from discover_orch.scaffold.adoption import Adoption, build_adoption, check_adoption
from discover_orch.scaffold.orchestrator import read_orchestrator
from tests.support.project_builder import write_files

MAPS = """
TOOL_MAP = {"fetch": "src.fetch", "parse": "src.parse", "draw": "src.draw"}
STAGES = {"ingest": ["fetch", "parse"], "render": ["draw"], "full": ["fetch", "parse", "draw"]}
"""
CONNECTION = "import sqlite3; get_connection = lambda: sqlite3.connect('shop.db')\n"
CALL = "importlib.import_module(TOOL_MAP[name]).run(conn, since=args.since)\n"
FLAG = 'parser.add_argument("--since", default="2020-01-01")\n'
PASSED = CALL + FLAG
TOOLS = {
    f"src/{name}.py": "def run(conn, since=None): ...\n" for name in ("fetch", "parse", "draw")
}
INGEST, RENDER = ("src.fetch", "src.parse"), ("src.draw",)

#: What the old file is, and other files.
SHAPES: dict[str, tuple[str, dict[str, str]]] = {
    "imported": ("from tool_map import TOOL_MAP, STAGES\n" + PASSED, {"tool_map.py": MAPS}),
    "of an imported module": (
        "from src import registry as r\nTOOL_MAP = r.TOOL_MAP\nSTAGES = dict(r.STAGES)\n" + PASSED,
        {"src/registry.py": MAPS},
    ),
    "all of a module": ("from tool_map import *\n" + PASSED, {"tool_map.py": MAPS}),
    "modules that import each other": (
        "from one import TOOL_MAP\nfrom two import STAGES\n" + PASSED,
        {
            "one.py": "import two\nPACKAGE = 'src'\n" + MAPS.replace('"src.', 'PACKAGE + ".'),
            "two.py": "from one import *\n",
        },
    ),
    "a class of another module": (
        "from settings import Pipeline\nTOOL_MAP = Pipeline.TOOL_MAP\nSTAGES = Pipeline.STAGES\n"
        + PASSED,
        {"settings.py": "class Pipeline:\n" + MAPS.replace("\n", "\n    ")},
    ),
    "a class that adds to its base": (
        """
class Base:
    TOOL_MAP = {"fetch": "src.fetch"}
class Pipeline(Base):
    TOOL_MAP = {**Base.TOOL_MAP, "parse": "src.parse", "draw": "src.draw"}
    STAGES = {"ingest": ["fetch", "parse"], "render": ["draw"]}
"""
        + PASSED,
        {},
    ),
    "a sum": (
        """
NAMES = ["fetch", "parse", "draw"]
TOOL_MAP = {name: f"src.{name}" for name in NAMES}
STAGES = {"ingest": NAMES[:2], "render": NAMES[2:]}
STAGES["all"] = sum(STAGES.values(), [])
"""
        + PASSED,
        {},
    ),
    "an ordered dict": (
        """
TOOL_MAP = dict(fetch="src.fetch", parse="src.parse", draw="src.draw")
STAGES = OrderedDict([("ingest", ("fetch", "parse")), ("render", ("draw",))])
"""
        + PASSED,
        {},
    ),
    "pairs": (
        MAPS.partition("STAGES")[0]
        + 'STAGES = [("ingest", ["fetch", "parse"]), ("render", ["draw"])]\n'
        + PASSED,
        {},
    ),
    "subparsers": (
        MAPS
        + CALL
        + 'run = commands.add_parser("run")\nrun.add_argument("--since", default="2020-01-01")\n',
        {},
    ),
    "a table of functions": (
        "from src import fetch, parse, draw\n"
        "TOOLS = {'fetch': fetch.run, 'parse': parse.run, 'draw': draw.run}\n"
        "STAGES = {'ingest': ['fetch', 'parse'], 'render': ['draw']}\n"
        "TOOLS[name](conn, since=args.since)\n" + FLAG,
        {},
    ),
    "getattr": (
        MAPS
        + 'getattr(importlib.import_module(TOOL_MAP[name]), "run")(conn, since=args.since)\n'
        + FLAG,
        {},
    ),
    "click": (
        MAPS
        + """
@click.command()
@click.argument("stage", default="full")
@click.option("--since", "-s", default="2020-01-01")
def main(stage, since):
    importlib.import_module(TOOL_MAP[name]).run(conn, since=since)
""",
        {},
    ),
    "click with another name": (
        MAPS
        + """
@cli.command()
@click.option("--first-day", "since", default="2020-01-01")
def main(since):
    importlib.import_module(TOOL_MAP[name]).run(conn, since=since)
""",
        {},
    ),
    "typer": (
        MAPS
        + """
def main(stage: str = "full", since: str = typer.Option("2020-01-01", help="x")):
    importlib.import_module(TOOL_MAP[name]).run(conn, since=since)

typer.run(main)
""",
        {},
    ),
    "annotated typer": (
        MAPS
        + """
@app.command()
def main(stage: str, *, since: Annotated[str, typer.Option(help="x")] = "2020-01-01"):
    importlib.import_module(TOOL_MAP[name]).run(conn, since=since)
""",
        {},
    ),
    "fire": (
        MAPS
        + """
def main(stage, since="2020-01-01"):
    importlib.import_module(TOOL_MAP[name]).run(conn, since=since)

fire.Fire(main)
""",
        {},
    ),
    "a value that is always the same": (
        MAPS + 'importlib.import_module(TOOL_MAP[name]).run(conn, since="2020-01-01")\n',
        {},
    ),
}


def adopt(root: Path, text: str, files: dict[str, str]) -> Adoption:
    write_files(root, {**TOOLS, "src/__init__.py": "", **files})
    return build_adoption(str(root), read_orchestrator("old.py", CONNECTION + text, str(root)))


def said(adoption: Adoption) -> list[str]:
    return [f"{one.location}: {one.message}" for one in adoption.problems]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_shape_is_converted_as_a_whole(shape: str, tmp_path: Path) -> None:
    """The lists select the same tools, and the default of `--since` stays."""
    adoption = adopt(tmp_path, *SHAPES[shape])
    assert said(adoption) == []
    assert check_adoption(str(tmp_path), adoption) == ()
    lists = {name: modules for name, _, modules, _ in adoption.lists}
    assert (lists["ingest"], lists["render"]) == (INGEST, RENDER)
    if shape == "a sum":
        assert lists["all"] == (*INGEST, *RENDER)
    settings = next(one.new.decode() for one in adoption.changes if one.path == "pyproject.toml")
    assert 'since = "2020-01-01"' in settings
    assert any("since" in note for note in adoption.notes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MAPS, "old.py: no call of a tool was found here, so it is not known what run() gets"),
        (
            MAPS + "subprocess.run([sys.executable, '-m', TOOL_MAP[name]])",
            "old.py: no call of a tool was found here, so it is not known what run() gets",
        ),
        (
            MAPS + CALL.replace("args.since", "today()") + FLAG,
            "old.py:5: run() gets since=today(), which no flag gives",
        ),
        (
            MAPS + CALL.replace("args.since", "None") + FLAG.replace("since", "until"),
            "",  # the default of run()
        ),
        (
            MAPS + CALL.replace("args.since", "['a']"),
            "old.py:5: run() gets since=['a'], which no setting can express",
        ),
        (
            MAPS + PASSED + FLAG.replace("2020", "2021"),
            "old.py:7: --since has another default here than on line 6: '2021-01-01'",
        ),
        (
            MAPS.partition("STAGES")[0] + PASSED,
            "old.py: no STAGES was found, so all tools are in one stage",
        ),
        (
            MAPS.partition("STAGES")[0] + "STAGES = load()\n" + PASSED,
            "old.py:4: STAGES cannot be read from the source: load()",
        ),
        (
            MAPS.partition("STAGES")[0] + "STAGES = ['ingest', 'render']\n" + PASSED,
            "old.py:4: STAGES cannot be read from the source: list",
        ),
        (
            "from lists import TOOL_MAP, STAGES\n" + PASSED,
            "lists.py:4: the list late of STAGES cannot be read from the source: load()",
        ),
        (
            "from lists import TOOL_MAP, STAGES\n" + PASSED,
            "lists.py:2: the module of gone was not found: src.gone",
        ),
    ],
)
def test_what_is_not_known_is_said_with_its_line(text: str, expected: str, tmp_path: Path) -> None:
    lists = MAPS.replace('"draw": "src.draw"', '"draw": "src.draw", "gone": "src.gone"')
    adoption = adopt(tmp_path, text, {"lists.py": lists + 'STAGES["late"] = load()\n'})
    assert (expected in said(adoption)) if expected else said(adoption) == []


@pytest.mark.parametrize(
    ("text", "expected", "hint"),
    [
        (
            MAPS.replace("TOOL_MAP", "STEPS"),
            "old.py:3: no TOOL_MAP was found",
            "STEPS looks like one: rename it to TOOL_MAP",
        ),
        (
            "TOOL_MAP = json.load(open('tools.json'))",
            "old.py:2: TOOL_MAP cannot be read from the source: json.load(open('tools.json'))",
            "write it out",
        ),
        ("from gone import TOOL_MAP", "old.py:2: TOOL_MAP cannot be read from the source", ""),
    ],
)
def test_a_table_that_cannot_be_read_is_named(
    text: str, expected: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(ProjectError) as told:
        adopt(tmp_path, text, {})
    [problem] = told.value.problems
    assert f"{problem.location}: {problem.message}".startswith(expected)
    assert hint in problem.hint


@pytest.mark.parametrize(
    "odd",
    [
        "X = {}\nX[['a']] = 1\nX.setdefault(['a'], 1)",
        "X = []\nX.insert('a', 1)",
        "X = []\nX.append(X)",
        "X = {**1, **Y}",
        "from . import *\nfrom .... import X\nfrom gone import *",
        "def broken(:",
    ],
)
def test_an_odd_module_is_no_crash(odd: str, tmp_path: Path) -> None:
    text = "from odd import *\nfrom odd import X\n" + MAPS + PASSED
    assert said(adopt(tmp_path, text, {"odd.py": odd + "\n"})) == []
    if not odd.startswith("def"):
        assert said(adopt(tmp_path, odd + MAPS + PASSED, {})) == []


def test_modules_that_import_the_old_file_are_named(tmp_path: Path) -> None:
    files = {
        "src/fetch.py": "from old import get_connection\ndef run(conn, since=None): ...\n",
        "src/parse.py": "import older\ndef run(conn, since=None): ...\n",
        "tests/test_old.py": "import old\n",
        ".venv/lib/x.py": "import old\n",
    }
    adoption = adopt(tmp_path, MAPS + PASSED, files)
    assert adoption.is_imported
    assert said(adoption) == [
        "src/fetch.py:1: the module imports old.py, so that file is still needed",
        "tests/test_old.py:1: the module imports old.py, so that file is still needed",
    ]
    assert not adopt(tmp_path / "other", MAPS + PASSED, {}).is_imported


def test_a_flag_with_several_values_is_a_list(tmp_path: Path) -> None:
    text = MAPS + CALL + 'parser.add_argument("--since", nargs="*", default=None)\n'
    typed = "def run(conn, since: list[str] | None = None): ...\n"
    tools = dict.fromkeys(TOOLS, typed)
    assert said(adopt(tmp_path, text, tools)) == []
    [*wrong] = said(
        adopt(tmp_path, text, {**tools, "src/fetch.py": typed.replace("list[str]", "str")})
    )
    assert wrong == ["src/fetch.py:1: since of fetch was list and becomes str, as run() says"]
