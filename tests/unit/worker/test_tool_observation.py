"""What a tool did to files, as audit events tell it. Hooks stay for ever, so each test has a process of its own: a fork
of one that has imported what the tests need."""

from __future__ import annotations

import os
import sqlite3
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from discover_orch.model.observation import Observation, list_paths
from discover_orch.model.tool_events import ToolFinished
from discover_orch.worker.protocol import decode_message
from tests.support.fork_server import PROGRAMS, ForkServer
from tests.support.seen import Seen, mark_numbers, see

IMPORTS = """
import glob, io, linecache, os, pathlib, shutil, sqlite3, subprocess, sys, tempfile, threading
from discover_orch.worker.tool_observation import Observer
from discover_orch.worker.project_code import ProjectCode
from discover_orch.worker.protocol import encode_line
from discover_orch.model.tool_events import ToolFinished
from tests.support.seen import see
"""
BEGIN = f"""{IMPORTS}
sys.dont_write_bytecode = True
observer = Observer(ProjectCode({{root!r}}, [{{root!r}}]), {{database!r}})
observer.begin_step()
"""
END = """
seen = observer.finish_step(loaded=globals().get("loaded", ()))
sys.stdout.buffer.write(encode_line(ToolFinished(module="tool", status="passed", seen=seen)))
"""

server: ForkServer


@pytest.fixture(scope="module", autouse=True)
def one_server() -> Iterator[None]:
    global server
    with ForkServer(IMPORTS + PROGRAMS) as server:
        yield


def observe(
    root: Path, code: str, *, given: Path | None = None, database: str = "", **environment: str
) -> Seen:
    """What was seen of this code, run in the root; `given` is the root that the observer gets."""
    return see(_run(root, str(given or root), textwrap.dedent(code), database, environment))


def _run(
    root: Path,
    given: str,
    code: str,
    database: str = "",
    environment: Mapping[str, str] | None = None,
) -> Observation | None:
    program = BEGIN.format(root=given, database=database) + code + END
    answer = server.run(root, program, env=environment)
    assert answer.code == 0, answer.text
    message: Any = decode_message(answer.out.encode())
    assert isinstance(message, ToolFinished)
    return message.seen


def read(seen: Seen) -> list[str]:
    return [path for path, *_ in seen.read]


def make(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)


TREE = ("old", "log", "a", "b", "in/a", "in/b", "sub/x", "module.py")
IN = ("in", list_paths("in", ["a", "b"], ()))
WAYS: list[tuple[dict[str, list[Any]], list[str]]] = [
    (
        {"written": ["x"]},
        [
            "open('x', 'w').close()",
            "open('x', 'a').close()",
            "open('x', 'xb').close()",
            "os.close(os.open('x', os.O_WRONLY | os.O_CREAT))",
            "os.close(os.open(b'x', os.O_RDWR | os.O_CREAT))",
            "os.close(os.open('x', os.O_RDONLY | os.O_CREAT))",
            "pathlib.Path('x').write_text('')",
            "open(pathlib.Path('x'), 'wb').close()",
            "pathlib.Path('x').touch()",
            "os.symlink('absent', 'x')",
            "os.link('old', 'x')",
            "io.open('x', 'w').close()",
            "t = threading.Thread(target=open, args=('x', 'w')); t.start(); t.join()",
            "f = tempfile.NamedTemporaryFile(dir='.', delete=False); f.close(); os.replace(f.name, 'x')",
            "try: open('x')\nexcept OSError: open('x', 'w').close()",
        ],
    ),
    (
        {"written": ["x"], "read": ["old"]},
        ["shutil.copy('old', 'x')", "shutil.copyfile('old', 'x')"],
    ),
    (  # changed in place: written, and no input
        {"written": ["old"]},
        [
            "open('old', 'w').close()",
            "open('old', 'r+').close()",
            "open('old', 'a').close()",
            "open('old').read(); open('old', 'w').close()",
            "open('old', 'w').close(); open('old').read()",
            "os.truncate('old', 0)",
            "open('x', 'w').close(); os.rename('x', 'old')",
            "os.remove('old'); open('old', 'w').close()",
        ],
    ),
    (
        {"written": ["a2", "b2"], "removed": ["a", "b"]},
        ["os.rename('a', 'a2'); shutil.move('b', 'b2')"],
    ),
    (  # made and removed, or not made at all
        {},
        [
            "open('x', 'w').close(); os.remove('x')",
            "open('x', 'w').close(); open('x').close(); pathlib.Path('x').unlink()",
            "tempfile.NamedTemporaryFile(dir='.').close()",
            "os.mkdir('d'); open('d/x', 'w').close(); shutil.rmtree('d')",
            "os.makedirs('d/e'); subprocess.run(['touch', 'd/e/x']); open('d/e/x').close(); os.listdir('d'); shutil.rmtree('d')",
            "os.mkdir('d'); subprocess.run(['sh', '-c', 'mkdir d/e; >d/e/x']); open('d/e/x', 'a').close(); shutil.rmtree('d')",
            "with tempfile.TemporaryDirectory(dir='.') as d: open(d + '/x', 'w').close(); os.listdir(d)",
            "os.symlink('absent', 'l'); os.remove('l')",
            "try: open('missing/x', 'w')\nexcept OSError: pass",
            "try: open('old', 'x')\nexcept OSError: pass",
            "os.stat('old'); os.close(os.open('.', os.O_RDONLY)); os.access('old', 4)",
        ],
    ),
    (
        {"read": ["old"]},
        [
            "open('old').read()",
            "open('old', 'rb').close()",
            "open(b'old').close()",
            "os.close(os.open('old', os.O_RDONLY))",
            "pathlib.Path('old').read_text()",
            "pathlib.Path('sub/../old').read_text()",
            "open('./old').close()",
            "open('.//old').close()",
            "open(os.path.abspath('old')).close()",
            "os.chdir('sub'); open('../old').close()",
            "open('old').close(); os.chdir('sub')",
            "t = threading.Thread(target=open, args=('old',)); t.start(); t.join()",
            "linecache.getline('module.py', 1); open('old').close()",
        ],
    ),
    ({"read": ["module.py"]}, ["open('module.py')", "os.open('module.py', os.O_RDONLY)"]),
    ({"missed": ["nope"]}, ["os.path.exists('nope')", "try: open('nope')\nexcept OSError: pass"]),
    ({"missed": ["no/nope"]}, ["try: open('no/nope')\nexcept OSError: pass"]),
    ({"missed": ["old/nope"]}, ["try: open('old/nope')\nexcept OSError: pass"]),
    ({"missed": ["nope"]}, ["try: os.listdir('nope')\nexcept OSError: pass"]),
    (
        {"listed": [IN]},
        [
            "os.listdir('in')",
            "os.listdir(b'in')",
            "list(os.scandir('in'))",
            "list(pathlib.Path('in').iterdir())",
            "glob.glob('in/*')",
            "list(pathlib.Path('in').glob('*'))",
            "os.chdir('in'); os.listdir()",
            "list(os.walk('in'))",
            "list(os.fwalk('in'))",
            "os.listdir(os.open('in', os.O_RDONLY))",
            "list(os.scandir(os.open('in', os.O_RDONLY)))",
            "glob.glob('*', dir_fd=os.open('in', os.O_RDONLY))",
        ],
    ),
    (
        {"written": ["log"], "appended": ["log"]},
        [
            "open('log', 'a').close()",
            "open('log', 'ab').close(); open('log', 'a').close()",
            "os.close(os.open('log', os.O_WRONLY | os.O_APPEND | os.O_CREAT))",
            "pathlib.Path('log').open('a').close()",
            "os.chdir('sub'); open('../log', 'a').close()",
        ],
    ),
    (  # opened for more than to append to it
        {"written": ["log"]},
        [
            "open('log', 'w').close(); open('log', 'a').close()",
            "open('log', 'a').close(); open('log', 'w').close()",
            "open('log', 'a').close(); open('log', 'r+').close()",
            "open('log', 'a').close(); os.truncate('log', 0)",
            "open('log', 'a').close(); open('log').close()",
            "open('log', 'a').close(); os.remove('log'); open('log', 'a').close()",
            "open('log', 'a+').close()",
            "open('new', 'a').close(); os.replace('new', 'log')",
        ],
    ),
]


def told(seen: Seen) -> dict[str, list[Any]]:
    """What was seen of files, by what was done to them."""
    kinds: dict[str, Any] = {
        "written": seen.written,
        "removed": seen.removed,
        "appended": [one for one in seen.appended if one == "log"],
        "read": read(seen),
        "missed": seen.missed,
        "listed": seen.listed,
    }
    return {kind: sorted(names) for kind, names in kinds.items() if names}


@pytest.mark.parametrize(
    ("code", "expected"), [(code, expected) for expected, ways in WAYS for code in ways]
)
def test_each_way_to_use_a_file_or_folder_is_seen(
    tmp_path: Path, code: str, expected: dict[str, list[Any]]
) -> None:
    make(tmp_path, *TREE)
    seen = observe(tmp_path, code)
    assert told(seen) == expected
    for path, *state in seen.read:
        assert state == [*mark_numbers((tmp_path / path).stat())]


# Writing.


def test_what_was_there_and_is_taken_away_is_removed_also_when_it_was_written_or_read(
    tmp_path: Path,
) -> None:
    make(tmp_path, "a", "b", "c", "d/e", "d/f/g")
    code = """
    os.remove('a')
    open('b', 'w').close(); pathlib.Path('b').unlink()
    open('c').close(); os.remove('c')
    shutil.rmtree('d')
    """
    seen = observe(tmp_path, code)
    assert sorted(seen.removed) == ["a", "b", "c", "d", "d/e", "d/f", "d/f/g"]
    assert (seen.written, seen.missed) == ((), ())
    assert seen.read == (("c", -1, 0, 0, 0),)


def test_a_folder_that_is_renamed_takes_its_files_along(tmp_path: Path) -> None:
    make(tmp_path, "old/a", "old/sub/b")
    code = """
    os.mkdir('made'); open('made/x', 'w').close(); os.rename('made', 'new')
    os.listdir('old'); os.rename('old', 'older')
    """
    seen = observe(tmp_path, code)
    assert seen.missed == ()
    assert sorted(seen.written) == ["new/x", "older/a", "older/sub/b"]
    assert sorted(seen.removed) == ["old", "old/a", "old/sub", "old/sub/b"]
    assert sorted(seen.folders_made) == ["new", "older", "older/sub"]


def test_each_file_is_told_once_in_order_and_then_forgotten(tmp_path: Path) -> None:
    code = """
    for name in 'baab':
        open(name, 'w').close()
    assert see(observer.finish_step()).written == ('b', 'a')
    observer.begin_step()
    open('c', 'w').close()
    """
    assert observe(tmp_path, code).written == ("c",)


def test_what_happens_between_steps_does_not_count(tmp_path: Path) -> None:
    make(tmp_path, "old")
    code = "open('x', 'w').close(); open('old').close(); os.listdir('.'); observer.begin_step()"
    seen = observe(tmp_path, code)
    assert (seen.written, seen.read, seen.listed) == ((), (), ())


def test_links_are_seen_by_both_names_where_they_are_written(tmp_path: Path) -> None:
    make(tmp_path, "real/old", "file")
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "link").symlink_to("file")
    code = "open('folder/x', 'w').close(); open('link', 'w').close(); os.remove('folder/old'); open('file').close()"
    seen = observe(tmp_path, code)
    assert sorted(seen.written) == ["file", "folder/x", "link", "real/x"]
    assert sorted(seen.removed) == ["folder/old", "real/old"]
    assert seen.read == ()


def test_what_it_wrote_itself_is_no_input_by_another_name_either(tmp_path: Path) -> None:
    make(tmp_path, "file", "other")
    (tmp_path / "link").symlink_to("file")
    code = "open('file', 'w').close(); open('link').close(); os.link('other', 'hard'); open('other').close()"
    seen = observe(tmp_path, code)
    assert (sorted(seen.written), read(seen)) == (["file", "hard"], ["other"])


# Reading.


def test_a_link_is_read_by_its_own_name_and_its_real_one(tmp_path: Path) -> None:
    make(tmp_path, "old")
    (tmp_path / "link").symlink_to("old")
    assert read(observe(tmp_path, "open('link').close()")) == ["link", "old"]


def test_a_source_file_is_an_input_for_who_reads_it_but_not_for_who_imports_it(
    tmp_path: Path,
) -> None:
    make(tmp_path, "as_data.py")
    (tmp_path / "module.py").write_text("def f(): raise ValueError\n")
    code = """
    import importlib.metadata, inspect, traceback
    loaded = ['module.py']
    sys.path.insert(0, '.')
    import module
    inspect.getsource(module)
    try: module.f()
    except ValueError: traceback.format_exc()
    list(importlib.metadata.distributions())
    open('as_data.py').read()
    """
    seen = observe(tmp_path, code)
    assert (read(seen), seen.missed, seen.listed) == (["as_data.py"], (), ())


@pytest.mark.parametrize("name", ["module.pyc", "module.zip"])
def test_code_that_a_tool_opens_itself_is_data(tmp_path: Path, name: str) -> None:
    make(tmp_path, name)
    for code in (f"open({name!r})", f"os.open({name!r}, os.O_RDONLY)"):
        assert read(observe(tmp_path, code)) == [name]


@pytest.mark.parametrize(
    "code",
    [
        "linecache.getline('module.py', 1)",
        "tokenize.open('module.py').close()",
        "list(importlib.metadata.distributions(path=['folder']))",
        "exec(compile('open(\"module.py\"); os.listdir(\"folder\")', OWN_FOLDER + 'x.py', 'exec'))",
        "exec(compile('sqlite3.connect(\"a.db\")', OWN_FOLDER + 'x.py', 'exec'))",
    ],
)
def test_who_shows_source_lines_or_looks_for_packages_reads_no_data(
    tmp_path: Path, code: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "module.py").write_text("X = 1\n")
    start = "import importlib.metadata, tokenize\nfrom discover_orch.model.search_path import OWN_FOLDER\n"
    seen = observe(tmp_path, start + code)
    assert (seen.read, seen.listed, seen.missed, seen.written) == ((), (), (), ())


@pytest.mark.parametrize(
    "code",
    [
        "os.remove('a', dir_fd=fd)",
        "os.rename('a', 'c', src_dir_fd=fd, dst_dir_fd=fd)",
        "os.link('a', 'c', src_dir_fd=fd, dst_dir_fd=fd)",
        "os.symlink('a', 'c', dir_fd=fd)",
        "os.mkdir('c', dir_fd=fd)",
        "shutil.rmtree('sub', dir_fd=fd)",
        "for _ in os.fwalk('folder'): pass",
        "os.chdir(fd); again = open('../old', 'r+'); observer.begin_step(); os.truncate(again.fileno(), 0)",
    ],
)
def test_a_name_below_an_open_folder_is_not_taken_for_one_here(tmp_path: Path, code: str) -> None:
    """The events do not tell which folder it is; one of the same name is here too."""
    make(tmp_path, "old", "a", "sub/a", "folder/a", "folder/sub/b")
    seen = observe(tmp_path, f"fd = os.open('folder', os.O_RDONLY)\n{code}")
    assert (seen.read, seen.missed, seen.written, seen.removed) == ((), (), (), ())


SPELLINGS = """
names = ["old", "folder", "sub", "a", "..", ".", "", "link", "..x"]
found = set()
for seed in range(4000):
    choose = random.Random(seed).choice
    spelling = choose(["", os.getcwd() + "/", "/" + os.getcwd() + "/"]) + "/".join(
        choose(names) for _ in range(choose(range(1, 7)))
    )
    observer.begin_step()
    try: open(spelling).close()
    except (OSError, ValueError): continue
    told = [path for path, *_ in see(observer.finish_step()).read]
    if not os.path.realpath(spelling).startswith(os.getcwd()): continue
    assert told and all(os.path.samefile(one, spelling) for one in told), (spelling, told)
    assert all(one == os.path.relpath(one) for one in told), (spelling, told)
    found.update(told)
assert found == {"old", "folder/a", "folder/sub/a", "link/a"}, found
observer.begin_step()
"""


def test_however_a_file_is_spelled_it_is_told_in_a_short_form(tmp_path: Path) -> None:
    make(tmp_path, "old", "folder/a", "folder/sub/a", "..x/b")
    (tmp_path / "link").symlink_to("folder/sub")
    observe(tmp_path, "import random" + SPELLINGS)


# Listing.


def test_the_root_is_a_dot_and_its_noise_is_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a", ".orch/x", "__pycache__/x", ".git/x", "data.db", "data.db-wal")
    database = str(tmp_path / "data.db")
    code = "os.listdir(); os.listdir('.orch'); open('.git/x').close(); open('.orch/x').close(); open('y', 'w').close()"
    seen = observe(tmp_path, code, database=database)
    assert seen.listed == ((".", list_paths(".", ["a", "y"], ())),)
    assert (seen.read, seen.written) == ((), ("y",))


# Where.


def test_paths_are_relative_to_the_root_wherever_the_tool_stands(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    code = """
    open('./sub/../one', 'w').close()
    os.chdir('sub')
    open('two', 'w').close()
    open(os.path.abspath('three'), 'w').close()
    """
    assert observe(tmp_path, code).written == ("one", "sub/two", "sub/three")


def test_what_lies_outside_counts_by_its_absolute_path(tmp_path: Path) -> None:
    make(tmp_path, "root/z", "root-2/a", "b")
    code = """
    open('../root-2/x', 'w').close(); open('../y', 'w').close(); open('z', 'w').close()
    open('../root-2/a').close(); open('../b').close(); os.listdir('../root-2')
    """
    seen = observe(tmp_path / "root", code)
    other = f"{tmp_path}/root-2"
    assert seen.written == (f"{other}/x", f"{tmp_path}/y", "z")
    assert read(seen) == [f"{other}/a", f"{tmp_path}/b"]
    assert seen.listed == ((other, f"{other}/a\0{other}/x"),)


def test_a_root_behind_a_link_is_seen_by_either_name(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    code = f"open({str(tmp_path / 'link' / 'a')!r}, 'w'); open({str(tmp_path / 'real' / 'b')!r}, 'w'); open('c', 'w')"
    seen = observe(tmp_path / "real", code, given=tmp_path / "link")
    assert seen.written == ("a", "b", "c")


def test_virtual_environments_and_installed_packages_are_no_inputs(tmp_path: Path) -> None:
    make(
        tmp_path, "env/pyvenv.cfg", "env/lib/x", "lib/site-packages/y", "foo.egg-info/PKG-INFO", "z"
    )
    code = """
    for one in ('env/lib/x', 'env/pyvenv.cfg', 'lib/site-packages/y', 'foo.egg-info/PKG-INFO', 'z'):
        open(one).close()
    os.listdir('env'); os.listdir('lib/site-packages')
    """
    seen = observe(tmp_path, code)
    assert (read(seen), seen.listed) == (["z"], ())


def test_what_is_left_in_the_folder_for_temporary_files_is_scratch(tmp_path: Path) -> None:
    make(tmp_path, "tmp/old")
    code = "open('tmp/old').close(); open('tmp/x', 'w').close(); open('y', 'w').close()"
    seen = observe(tmp_path, code, TMPDIR=str(tmp_path / "tmp"))
    kinds = {use.name: use.kind for use in seen.uses if use.kind != "created"}
    assert kinds == {"tmp/old": "read", "tmp/x": "scratch", "y": "written"}


def test_names_that_are_no_text_survive(tmp_path: Path) -> None:
    assert observe(tmp_path, r"open(b'\xff', 'w').close()").written == ("\udcff",)


# Databases that it opens by itself.


def test_a_database_of_the_tool_s_own_is_a_file_that_it_reads_and_perhaps_writes(
    tmp_path: Path,
) -> None:
    import sqlite3

    for name in ("read.db", "changed.db"):
        conn = sqlite3.connect(tmp_path / name)
        conn.execute("CREATE TABLE t(a)")
        conn.close()
    code = """
    sqlite3.connect('read.db').execute('SELECT * FROM t').fetchall()
    sqlite3.connect(f'file:{os.getcwd()}/read.db?mode=ro', uri=True).execute('SELECT * FROM t').fetchall()
    changed = sqlite3.connect(pathlib.Path('changed.db')); changed.execute('CREATE TABLE u(a)'); changed.close()
    sqlite3.connect('changed.db').execute('SELECT * FROM u').fetchall()
    new = sqlite3.connect('new.db'); new.execute('CREATE TABLE u(a)'); new.close()
    sqlite3.connect(':memory:').execute('CREATE TABLE u(a)')
    try: sqlite3.connect('file:nope.db?mode=ro', uri=True)
    except sqlite3.Error: pass
    """
    seen = observe(tmp_path, code)
    assert sorted(read(seen)) == ["changed.db", "read.db"]
    assert sorted(seen.written) == ["changed.db", "new.db"]
    assert (seen.missed, seen.is_unclear) == (("nope.db",), False)


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
def test_a_database_is_told_by_its_real_path(tmp_path: Path, given: str, path: str | None) -> None:
    make(tmp_path, "sub/x")
    for name in ("a.db", "a b.db"):
        sqlite3.connect(tmp_path / name).execute("CREATE TABLE t(a)").connection.close()
    (tmp_path / "link.db").symlink_to("a.db")
    name = given.format(root=tmp_path)
    connect = f"sqlite3.connect({name!r}, uri={given.startswith('file:')})"
    seen = observe(tmp_path, f"{connect}.execute('SELECT 1')")
    assert (read(seen), seen.written) == ([path] if path else [], ())
    seen = observe(
        tmp_path,
        f"{connect}.execute('CREATE TABLE IF NOT EXISTS u(a)')" if "mode=ro" not in name else "",
    )
    assert seen.written == ((path,) if path and "mode=ro" not in name else ())


def test_a_tool_that_opens_the_projects_database_itself_is_unclear(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to("data.db")
    for name in ("data.db", "link.db", "./sub/../data.db", f"{tmp_path}/data.db"):
        (tmp_path / "sub").mkdir(exist_ok=True)
        code = f"sqlite3.connect({name!r}).execute('CREATE TABLE IF NOT EXISTS t(a)')"
        seen = observe(tmp_path, code, database=str(tmp_path / "data.db"))
        assert seen.is_unclear, name
        assert (seen.read, seen.written) == ((), ())
    assert not observe(tmp_path, "", database=str(tmp_path / "data.db")).is_unclear


# It does no harm.


@pytest.mark.parametrize(
    "code",
    [
        "r, w = os.pipe(); os.fdopen(w, 'w').close(); os.close(r)",  # a descriptor has no path
        "sys.audit('open', None, None, os.O_WRONLY)",
        "sys.audit('open', object(), 'w', os.O_WRONLY)",
        "sys.audit('os.rename')",
        "sys.audit('os.remove', b'\\0', -1)",
        "sys.audit('open')",
        "sys.audit('open', '\\0', 'r', 0)",
        "sys.audit('os.listdir', object())",
        "sys.audit('sqlite3.connect', 3)",
        "sys.audit('shutil.rmtree', '\\0')",
        "class Odd:\n    def __fspath__(self): raise RuntimeError\nsys.audit('os.remove', Odd(), -1)",
        "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')\n"
        "try: open('x', 'w')\nexcept OSError: pass\n"
        "try: open('x')\nexcept OSError: pass\nos.chdir('/')",
        "if os.fork() == 0:\n    open('x', 'w').close(); os.remove('x'); os._exit(0)\nos.wait()",
    ],
)
def test_the_observer_never_raises(tmp_path: Path, code: str) -> None:
    assert observe(tmp_path, code).written == ()


def test_an_interrupt_in_the_hook_reaches_the_tool(tmp_path: Path) -> None:
    code = """
    import signal
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started this may have ignored it
    def interrupt(event, arguments):
        if event == 'open' and arguments[0] == 'x':
            signal.raise_signal(signal.SIGINT)
    sys.addaudithook(interrupt)
    try:
        open('x')
    except KeyboardInterrupt:
        open('told', 'w').close()
    """
    assert observe(tmp_path, code).written == ("told",)


def test_a_step_that_does_nothing_has_seen_nothing_and_knows_when_it_began(tmp_path: Path) -> None:
    seen = observe(tmp_path, "")
    coarse, exact = seen.began
    # The script of this test is in the project, and ran before it was monitored.
    assert replace(seen.observed, code_gap="") == Observation(began=seen.began)
    assert 0 < coarse <= exact
    assert os.stat(tmp_path).st_mtime_ns < exact


LAW = """
import itertools, random, tempfile
names = ['a', 'b', 'sub/c', 'sub/d']
fresh = itertools.count()
def look():
    return {one: open(one).read() for one in names if os.path.exists(one)}
def act(choose):
    one, other = choose(names), choose(names)
    kind = choose(['write', 'append', 'read', 'remove', 'rename', 'truncate'])
    try:
        if kind == 'write': open(one, 'w').write(str(next(fresh)))
        elif kind == 'append': open(one, 'a').write(str(next(fresh)))
        elif kind == 'read': open(one).close(); return one
        elif kind == 'remove': os.remove(one)
        elif kind == 'truncate': os.truncate(one, 0)
        else: os.rename(one, other)
    except FileNotFoundError:
        return one if kind == 'read' else None
os.mkdir('sub')
for seed in range(500):
    choose = random.Random(seed).choice
    before = look()
    observer.begin_step()
    asked = {act(choose) for _ in range(choose(range(8)))} - {None}
    seen = see(observer.finish_step())
    after = look()
    told = seed, before, after, asked, seen
    assert {*seen.removed} == before.keys() - after.keys(), told
    changed = {one for one in after if before.get(one) != after[one]}
    assert changed <= {*seen.written} <= after.keys(), told
    read, missed = {path for path, *_ in seen.read}, {*seen.missed}
    assert read <= asked & {*after, *seen.removed} - {*seen.written}, told
    assert missed <= asked - after.keys() - before.keys(), told
    assert asked - {*seen.written} - {*seen.removed} <= read | missed | (asked - before.keys() - after.keys()), told
observer.begin_step()
"""


def test_after_random_operations_the_observation_agrees_with_the_disk(tmp_path: Path) -> None:
    observe(tmp_path, LAW)


# Links.


@pytest.mark.parametrize("make_link", ["os.symlink('src', 'dst')", "os.link('src', 'dst')"])
def test_to_make_a_link_writes_it_and_leaves_what_it_leads_to(
    tmp_path: Path, make_link: str
) -> None:
    make(tmp_path, "src")
    assert _links(tmp_path, make_link) == (["dst"], [])
    (tmp_path / "dst").unlink()
    assert _links(tmp_path, f"{make_link}; open('src').close()") == (["dst"], ["src"])


@pytest.mark.parametrize(
    "code",
    [
        "os.symlink('src', 'dst'); open('dst').close()",
        "os.link('src', 'dst'); open('dst').close()",
        "os.symlink('src', 'x'); os.rename('x', 'dst'); open('dst').close()",
        "os.link('src', 'x'); os.replace('x', 'dst'); open('dst').close()",
    ],
)
def test_what_is_read_through_a_link_that_it_made_is_what_the_link_leads_to(
    tmp_path: Path, code: str
) -> None:
    make(tmp_path, "src")
    assert _links(tmp_path, code) == (["dst"], ["src"])


@pytest.mark.parametrize(
    "code",
    [
        "os.symlink('src', 'dst'); open('dst', 'w').close(); open('src').close()",
        "os.symlink('src', 'dst'); os.truncate('dst', 0); open('src').close()",
        "os.symlink('src', 'x'); os.rename('x', 'dst'); open('dst', 'a').close()",
    ],
)
def test_what_is_written_through_a_link_that_it_made_is_written(tmp_path: Path, code: str) -> None:
    make(tmp_path, "src")
    assert _links(tmp_path, code) == (["dst", "src"], [])


def test_a_link_that_is_switched_leaves_both_that_it_led_to(tmp_path: Path) -> None:
    make(tmp_path, "one", "two")
    (tmp_path / "latest").symlink_to("one")
    code = "open('one').close(); os.symlink('two', 'x'); os.replace('x', 'latest'); open('two').close()"
    assert _links(tmp_path, code) == (["latest"], ["one", "two"])


def test_a_link_that_cannot_be_made_is_none(tmp_path: Path) -> None:
    make(tmp_path, "src", "dst")
    code = """
    for link in (os.symlink, os.link):
        try: link("src", "dst")
        except FileExistsError: open("dst").close()
    """
    assert _links(tmp_path, code) == ([], ["dst"])


def _links(root: Path, code: str) -> tuple[list[str], list[str]]:
    seen = observe(root, code)
    assert (seen.removed, seen.missed, seen.is_unclear) == ((), (), False)
    return sorted(seen.written), sorted(read(seen))


# What the users of a module share.


def test_the_users_of_a_module_share_what_is_read_while_it_is_loaded(tmp_path: Path) -> None:
    make(tmp_path, "old", "later", "folder/x")
    code = """
    with observer.uses.loading("lib.py"):
        open("old").close()
        os.listdir("folder")
        try: open("absent")
        except OSError: pass
        open("made", "w").close()
    open("later").close()
    """
    seen = observe(tmp_path, code)
    (use,) = seen.shared
    assert (use.path, read(use), use.missed) == ("lib.py", ["old"], ("absent",))
    assert use.listed == (("folder", list_paths("folder", ["x"], ())),)
    assert (read(seen), seen.written) == (["old", "later"], ("made",))


def test_what_changes_after_a_module_has_read_it_is_shared_as_it_was(tmp_path: Path) -> None:
    make(tmp_path, "old")
    state = mark_numbers((tmp_path / "old").stat())
    code = """
    with observer.uses.loading("lib.py"):
        open("old").close()
        open("made", "w").close()
        open("made").close()
    open("old", "w").close()
    """
    (use,) = observe(tmp_path, code).shared
    assert use.read == (("old", *state),)


@pytest.mark.parametrize("code", ["lib.py", "other.py"])
def test_a_database_that_a_module_keeps_open_is_used_by_its_users_alone(
    tmp_path: Path, code: str
) -> None:
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE t(a)")
    other.close()
    program = """
    with observer.uses.loading("lib.py"):
        other = sqlite3.connect("other.db")
    see(observer.finish_step())
    observer.begin_step(["{code}"])
    {body}
    """
    uses = code == "lib.py"
    seen = observe(tmp_path, program.format(code=code, body="pass"))
    assert (read(seen), seen.written) == (["other.db"] if uses else [], ())
    body = "other.execute('INSERT INTO t VALUES (1)'); other.commit()"
    seen = observe(tmp_path, program.format(code=code, body=body))
    assert seen.written == (("other.db",) if uses else ())


UNTRACED = ('started a child process untraced (ORCH has "trace": False)',)


@pytest.mark.parametrize(
    "code",
    [
        "subprocess.run(['true'])",
        "os.system('true')",
        "os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)",
        "pid = os.fork()\nif not pid: os._exit(0)\nos.waitpid(pid, 0)",
    ],
)
def test_a_child_process_is_a_gap(tmp_path: Path, code: str) -> None:
    assert observe(tmp_path, code).gaps == UNTRACED


@pytest.mark.parametrize(
    ("code", "gaps"),
    [
        (
            "socket.create_connection(server.getsockname()).close()",
            ("opened a network connection",),
        ),
        ("socket.socket().connect_ex(server.getsockname())", ("opened a network connection",)),
        ("local = socket.socket(socket.AF_UNIX); local.connect_ex('no')", ()),
    ],
)
def test_a_network_connection_is_a_gap(tmp_path: Path, code: str, gaps: tuple[str, ...]) -> None:
    start = "import socket; server = socket.create_server(('127.0.0.1', 0))\n"
    assert observe(tmp_path, start + code).gaps == gaps


def test_a_gap_ends_with_its_step(tmp_path: Path) -> None:
    code = "subprocess.run(['true']); see(observer.finish_step()); observer.begin_step(); open('x', 'w').close()"
    seen = observe(tmp_path, code)
    assert (seen.written, seen.gaps) == (("x",), ())
