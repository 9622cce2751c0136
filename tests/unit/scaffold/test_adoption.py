"""What `orch adopt` says of flags, modules and orders that do not mean the same afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from discover_orch.scaffold.adoption import Adoption, build_adoption
from discover_orch.scaffold.orchestrator import read_orchestrator
from tests.support.project_builder import write_files

Adopt = Callable[..., Adoption]
PLAIN = "def run(db, since=None): ..."


@pytest.fixture
def adopt(tmp_path: Path) -> Adopt:
    """Adopts an orchestrator of two tools, fetch and parse, that pass `flag` on as `since` or as `verbose`."""

    def build(
        flag: str = '"--since"',
        run: str = PLAIN,
        lists: str = '"ingest": ["fetch", "parse"]',
        more: str = "",
        files: dict[str, str] | None = None,
    ) -> Adoption:
        passed = ", ".join(f"{one}=args.{one}" for one in ("since", "verbose") if one in flag)
        text = f"""TOOL_MAP = {{"fetch": "tools.fetch", "parse": "tools.parse", {more}}}
STAGES = {{
    {lists}
}}
def get_connection(): ...
def call(name, db, args):
    importlib.import_module(TOOL_MAP[name]).run(db, {passed})
parser.add_argument({flag})
"""
        write_files(
            tmp_path,
            {"tools/fetch.py": run, "tools/parse.py": PLAIN, "tools/__init__.py": ""}
            | (files or {}),
        )
        return build_adoption(str(tmp_path), read_orchestrator("old.py", text))

    return build


def said(adoption: Adoption) -> list[str]:
    return [
        f"{one.location.path if one.location else ''}:{one.location.line if one.location else ''}: "
        f"{one.message} | {one.hint}"
        for one in adoption.problems
    ]


def settings(adoption: Adoption) -> str:
    return next(one.new.decode() for one in adoption.changes if one.path == "pyproject.toml")


@pytest.mark.parametrize(
    ("run", "now", "fixed"),
    [
        ("def run(db, since): ...", "requires it", "since=None"),
        ("def run(db, since: str): ...", "requires it", "since: str | None = None"),
        ("def run(db, *, since='x'): ...", "has the default 'x'", "since=None"),
    ],
)
def test_a_default_that_settings_cannot_express_is_said_with_the_fix(
    run: str, now: str, fixed: str, adopt: Adopt
) -> None:
    for flag in ('"--since"', '"--since", default=None'):
        assert said(adopt(flag, run)) == [
            f"tools/fetch.py:1: --since (line 8) has the default None, and run() of fetch {now} | "
            f"write {fixed} in the signature"
        ]
    assert said(adopt('"--since", required=True', run)) == []


def test_a_plain_default_is_written_to_the_settings(adopt: Adopt) -> None:
    found = adopt('"--since", default="2024-01-31"', "def run(db, since): ...")
    assert found.problems == ()
    assert 'since = "2024-01-31"' in settings(found)
    switch = adopt(
        '"--verbose", action="store_true"', "def run(db, verbose: bool, since=None): ..."
    )
    assert switch.problems == ()
    assert "verbose = false" in settings(switch)


def test_a_default_is_asked_for_where_the_project_has_settings(adopt: Adopt) -> None:
    files = {"orch.toml": 'packages = ["tools"]\nstages = ["ingest"]\n'}
    found = adopt('"--since", default="now"', "def run(db, since): ...", files=files)
    assert 'params = {since = "now"}' in " ".join(said(found)).replace("{ ", "{").replace(" }", "}")


def test_an_option_of_orch_is_given_as_a_parameter(adopt: Adopt) -> None:
    run = "def run(db, since=None, verbose=False): ..."
    assert adopt('"--verbose", action="store_true"', run).notes == (
        "--verbose is an option of orch run itself: give the parameter of fetch with -p verbose=true",
    )


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ("date.fromisoformat", "since: date"),
        ("datetime.datetime.fromisoformat", "since: datetime"),
        ("int", "since: int"),
        ("read_day", "since: the type that read_day gives"),
        ("lambda text: text", "since: the type that lambda text: text gives"),
    ],
)
def test_the_type_of_a_flag_is_the_annotation_to_write(
    made: str, expected: str, adopt: Adopt
) -> None:
    found = said(adopt(f'"--since", type={made}', PLAIN))
    assert [one.partition(" | ")[2] for one in found] == [f"annotate the parameter: {expected}"] * 2
    typed = "import datetime\ndef run(db, since: datetime.date | None = None): ..."
    same = adopt('"--since", type=date.fromisoformat', typed)
    assert not any("fetch" in one for one in said(same))


def test_a_module_that_is_not_there_is_no_function_of_its_package(adopt: Adopt) -> None:
    files = {
        "tools/script.py": "if True:\n    def main(): ...",
        "tools/__init__.py": "def other():\n    missing = 1",
    }
    more = '"old": "tools.missing", "known": "tools.script.main"'
    found = said(adopt(more=more, files=files))
    assert found == [
        "old.py:1: the module of old was not found: tools.missing | correct the entry or remove it"
        " (looked in ., src)",
        "tools/script.py:None: known has no run() | rename main() to run(), or add the line: run = main",
    ]


def test_lists_that_disagree_on_an_order_are_named(adopt: Adopt) -> None:
    lists = '"ingest": ["parse", "fetch"],\n    "full": ["fetch", "parse"]'
    assert adopt(lists=lists).notes[1:3] == (
        "the list full (line 4) runs fetch before parse; orch run runs parse before fetch, as the list ingest "
        "(line 3). orch run full_list keeps the order of the list",
        "orch run, with all tools, runs parse, fetch",
    )
    assert not any("before" in one for one in adopt().notes)
