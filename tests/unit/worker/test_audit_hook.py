"""What is noted of files as audit events tell it. Hooks stay for ever, so each test has a process of its own."""

from __future__ import annotations

import importlib.metadata
import json
import linecache
import os
import pathlib
import random
import shutil
import sqlite3
import sys
import textwrap
import threading
import tokenize
import warnings
import zipimport
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from discover_orch.model.search_path import OWN_FOLDER
from discover_orch.worker.audit_hook import AuditHook
from discover_orch.worker.call_stacks import CallStacks
from discover_orch.worker.native_files import NativeFiles
from discover_orch.worker.observed_paths import ObservedPaths
from discover_orch.worker.opened_databases import database_signature
from discover_orch.worker.project_code import ProjectCode
from tests.support.forked import run_forked

#: What the code of a test has at hand.
TOOL = {
    "OWN_FOLDER": OWN_FOLDER, "linecache": linecache, "metadata": importlib.metadata, "os": os,
    "pathlib": pathlib, "random": random, "shutil": shutil, "sqlite3": sqlite3, "sys": sys,
    "threading": threading, "tokenize": tokenize, "zipimport": zipimport,
}  # fmt: skip

NAMES = ("opened", "listed", "changed", "link_targets", "folder_changes", "imported", "connected")


def on_event(root: Path, code: str) -> dict[str, dict[str, Any]]:
    """What was noted of this code, run in the root; paths below the root are relative to it."""
    program = compile(textwrap.dedent(code), "<tool>", "exec")

    def run() -> str:
        os.chdir(root)
        sys.dont_write_bytecode = True
        warnings.simplefilter("ignore")  # what is left open is told with its line, which is read
        code = ProjectCode(str(root), [str(root)])
        heard = AuditHook(code, NativeFiles(ObservedPaths(str(root))), CallStacks(code))
        exec(program, {**TOOL, "heard": heard})
        heard.resolve_paths()
        return json.dumps({name: getattr(heard, name) for name in NAMES})

    said = run_forked(run)
    assert said.startswith("{"), said
    found: dict[str, dict[str, Any]] = json.loads(said.replace(f"{root}{os.sep}", ""))
    return found


def noted(root: Path, code: str) -> dict[str, Any]:
    """Only what was noted at all; of what stands for itself the names alone."""
    found: dict[str, Any] = {}
    for name, one in on_event(root, code).items():
        if one:
            found[name] = list(one) if name in ("opened", "listed", "imported") else one
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path in ("old", "other", "folder/a", "folder/sub/b"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    return tmp_path


# What each doing is noted as.


def test_a_link_that_leads_nowhere_was_there(root: Path) -> None:
    (root / "link").symlink_to("absent")
    assert on_event(root, "os.remove('link')")["changed"] == {"link": True}


def test_a_link_to_a_folder_that_is_renamed_is_a_file(root: Path) -> None:
    (root / "link").symlink_to("folder")
    found = noted(root, "os.rename('link', 'moved')")
    assert found["changed"] == {"link": True, "moved": False}
    assert "folder_changes" not in found


def test_a_folder_that_is_made_is_passing_and_one_that_is_there_is_not(root: Path) -> None:
    code = "os.mkdir('made'); os.makedirs('folder', exist_ok=True); os.makedirs('folder/deep/er')"
    made = ["made", "folder/deep", "folder/deep/er"]
    assert noted(root, code) == {
        "folder_changes": dict.fromkeys(made, True),
        "changed": dict.fromkeys(made, False),
    }


def test_a_folder_that_is_removed_or_renamed_was_there_unless_the_tool_made_it(root: Path) -> None:
    (root / "there").mkdir()
    code = """
    shutil.rmtree('folder'); os.mkdir('folder'); os.rename('there', 'moved')
    os.mkdir('d'); shutil.rmtree('d'); os.mkdir('e'); os.rename('e', 'f')
    """
    made = {"folder": False, "there": False, "d": True, "e": True}
    assert on_event(root, code)["folder_changes"] == made


# What is none of the tool's doing.


def test_what_is_known_by_a_descriptor_has_no_path(root: Path) -> None:
    code = """
    file = os.open('folder', os.O_RDONLY)
    heard.clear()
    os.listdir(file); os.scandir(file); os.chdir(file)
    again = open('../old', 'r+'); heard.clear(); os.truncate(again.fileno(), 0)
    open(again.fileno(), closefd=False)
    """
    assert noted(root, code) == {}


@pytest.mark.parametrize(
    "code",
    [
        "os.remove('a', dir_fd=fd)",
        "os.rename('a', 'c', src_dir_fd=fd, dst_dir_fd=fd)",
        "os.link('a', 'c', src_dir_fd=fd, dst_dir_fd=fd)",
        "os.symlink('a', 'c', dir_fd=fd)",
        "os.mkdir('c', dir_fd=fd)",
        "shutil.rmtree('sub', dir_fd=fd)",
    ],
)
def test_a_name_below_an_open_folder_is_not_taken_for_one_here(root: Path, code: str) -> None:
    """The events do not tell which folder it is; one of the same name is here too."""
    (root / "a").touch()
    (root / "sub").mkdir()
    found = noted(root, f"fd = os.open('folder', os.O_RDONLY); heard.clear(); {code}")
    assert {*found} <= {"listed"}


def test_of_a_rename_or_a_link_into_an_open_folder_only_what_has_a_name_is_noted(
    root: Path,
) -> None:
    code = """
    fd = os.open('folder', os.O_RDONLY)
    heard.clear()
    os.rename('old', 'x', dst_dir_fd=fd)
    os.rename('x', 'back', src_dir_fd=fd)
    os.link('a', 'linked', src_dir_fd=fd)
    """
    assert noted(root, code) == {
        "changed": {"old": True, "back": False, "linked": False},
        "link_targets": {"back": "", "linked": ""},
    }


def test_a_library_that_goes_down_by_open_folders_opens_nothing_here(root: Path) -> None:
    (root / "sub").mkdir()  # here too, so that a wrong name would be noted
    found = noted(root, "for _ in os.fwalk('folder'): pass")
    assert "sub" not in found.get("opened", [])
    assert noted(root, "os.open('sub', os.O_RDONLY)") == {"opened": ["sub"]}


@pytest.mark.parametrize(
    "code",
    [
        "linecache.getline('module.py', 1)",
        "tokenize.open('module.py').close()",
        "try: zipimport.zipimporter('module.zip')\nexcept ImportError: pass",
        "list(metadata.distributions(path=['folder']))",
        "exec(compile('open(\"module.py\"); os.listdir(\"folder\")', OWN_FOLDER + 'x.py', 'exec'))",
    ],
)
def test_who_shows_source_lines_or_looks_for_packages_reads_no_data(root: Path, code: str) -> None:
    (root / "module.py").write_text("X = 1\n")
    (root / "module.zip").touch()
    found = noted(root, code)
    assert {*found} <= {"imported"}
    assert not {"module.py", "module.zip"} & {*found.get("imported", ())}


@pytest.mark.parametrize("name", ["module.py", "module.pyc", "module.zip"])
def test_code_that_a_tool_opens_itself_is_data(root: Path, name: str) -> None:
    (root / name).touch()
    for code in (f"open({name!r})", f"os.open({name!r}, os.O_RDONLY)"):
        assert noted(root, code) == {"opened": [name]}


def test_data_that_is_read_by_what_shows_source_lines_is_data(root: Path) -> None:
    assert noted(root, "linecache.getline('old', 1)") == {"opened": ["old"]}


# Databases.


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("a.db", "a.db"),
        ("./sub/../a.db", "a.db"),
        ("link.db", "a.db"),
        ("file:a.db", "a.db"),
        ("file:a.db?mode=ro&cache=shared", "a.db"),
        ("file:a.db#part", "a.db"),
        ("file:{root}/a.db", "a.db"),
        ("file://{root}/a.db", "a.db"),
        ("file://localhost{root}/a.db?mode=ro", "a.db"),
        ("file:a%20b.db", "a b.db"),
        ("", None),
        ("file:", None),
        (":memory:", None),
        ("file::memory:?cache=shared", None),
        ("file:a.db?mode=memory", None),
    ],
)
def test_a_database_is_noted_by_its_real_path_and_as_it_was(
    root: Path, given: str, path: str | None
) -> None:
    (root / "sub").mkdir()
    for name in ("a.db", "a b.db"):
        with closing(sqlite3.connect(root / name)) as conn:
            conn.execute("CREATE TABLE t(a)")
    (root / "link.db").symlink_to("a.db")
    name = given.format(root=root)
    code = f"""
    conn = sqlite3.connect({name!r}, uri={given.startswith("file:")})
    conn.execute("CREATE TABLE IF NOT EXISTS u(a)") if "mode=ro" not in {name!r} else None
    """
    before = database_signature(str(root / path)) if path else ()
    found = on_event(root, code)["connected"]
    as_told = {name: tuple(one and tuple(one) for one in state) for name, state in found.items()}
    assert as_told == ({path: before} if path else {})


def test_a_database_that_is_opened_twice_is_known_as_it_was_at_first(root: Path) -> None:
    code = """
    for number in range(2):
        sqlite3.connect(pathlib.Path("new.db")).execute(f"CREATE TABLE t{number}(a)")
    """
    assert on_event(root, code)["connected"] == {"new.db": [None, None]}


def test_a_database_that_orch_opens_is_not_noted(root: Path) -> None:
    code = "exec(compile('sqlite3.connect(\"a.db\")', OWN_FOLDER + 'x.py', 'exec'))"
    assert noted(root, code) == {}


# From step to step.


def test_imports_are_nothing_that_was_done_and_are_forgotten_too(root: Path) -> None:
    (root / "module.py").touch()
    code = """
    sys.path.insert(0, os.getcwd())
    import module
    assert heard.imported and heard.is_empty()
    heard.clear()
    """
    assert noted(root, code) == {}


def test_where_the_working_directory_is_gone_only_what_needs_it_is_lost(root: Path) -> None:
    code = f"""
    os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone'); heard.clear()
    for name in ('x', {str(root / "old")!r}):
        try: open(name)
        except OSError: pass
    """
    assert noted(root, code) == {"opened": ["old"]}


def test_one_event_that_makes_no_sense_does_not_keep_the_next_from_being_heard(root: Path) -> None:
    code = """
    sys.audit("open"); sys.audit("open", None, None, 0); sys.audit("open", object(), "w", os.O_WRONLY)
    sys.audit("os.rename"); sys.audit("os.remove", chr(0)); sys.audit("sqlite3.connect", 3)
    open('old')
    """
    assert noted(root, code) == {"opened": ["old"]}


# Spellings of one path.

LAW = """
found = {}
names = ["old", "folder", "sub", "a", "..", ".", "", "link", "..x"]
for seed in range(4000):
    choose = random.Random(seed).choice
    spelling = choose(["", os.getcwd() + "/", "/" + os.getcwd() + "/"]) + "/".join(
        choose(names) for _ in range(choose(range(1, 7)))
    )
    try: open(spelling).close()
    except (OSError, ValueError): is_there = False
    else: is_there = True
    heard.resolve_paths()
    if is_there:
        (noted,) = heard.opened
        assert os.path.samefile(noted, spelling), (spelling, noted)
        assert noted == os.path.abspath(noted) and noted[:2] != "//", (spelling, noted)
        found[spelling] = noted
    heard.clear()
assert len(found) > 20, found
"""


def test_however_a_file_is_spelled_what_is_noted_is_that_file_in_a_short_form(root: Path) -> None:
    (root / "link").symlink_to("folder/sub")
    (root / "..x").mkdir()
    on_event(root, LAW)
