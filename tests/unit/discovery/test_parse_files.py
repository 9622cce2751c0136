"""Files to facts: the same in one process or several, and one bad file hides no other."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from discover_orch.discovery import parallel_map
from discover_orch.discovery.facts_index import FileFacts, ReferencedFacts
from discover_orch.discovery.parse_files import (
    SIZE_LIMIT,
    find_near_misses,
    read_exports_of,
    read_files,
    read_orchconf,
)
from discover_orch.source.facts import BrokenModule, ConfFacts, Exports, ModuleFacts, NameRef, Tag
from tests.support.permissions import run_bound
from tests.support.project_builder import write_files

TOOL = "STAGE = 'ingest'\ndef run(): 0\n"


def module_of(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


def read(root: Path, *paths: str) -> dict[str, FileFacts]:
    return dict(read_files(str(root), [(path, module_of(path)) for path in paths]))


def problem(root: Path, path: str) -> str:
    """The problem of one file, with its place."""
    found = read(root, path)[path]
    assert isinstance(found, BrokenModule)
    assert found.module == module_of(path)
    return f"{found.problem.location} {found.problem.code}: {found.problem.message}"


def test_a_file_becomes_the_facts_of_its_module(tmp_path: Path) -> None:
    write_files(
        tmp_path, {"src/a.py": TOOL, "src/p/__init__.py": "from .x import STAGE as S\nSTAGE = S"}
    )
    found = read(tmp_path, "src/a.py")["src/a.py"]
    assert isinstance(found, ModuleFacts)
    assert (found.module, found.path, found.stage) == (
        "src.a",
        "src/a.py",
        Tag(line=1, words=("ingest",)),
    )
    ((_, package),) = read_files(str(tmp_path), [("src/p/__init__.py", "src.p")])
    assert isinstance(package, ModuleFacts)
    assert package.stage == Tag(line=2, words=(NameRef(name="src.p.x.STAGE"),))


def test_what_cannot_be_a_tool_is_not_even_parsed(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.py": "def run(: not Python", "b.py": b"\xff\xfe\0", "c.py": ""})
    assert read(tmp_path, "a.py", "b.py", "c.py") == {"a.py": None, "b.py": None, "c.py": None}


def test_what_is_gone_or_no_regular_file_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.py")
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "dangling.py").symlink_to("nowhere")
    (tmp_path / "null.py").symlink_to(os.devnull)
    paths = ["fifo.py", "folder.py", "dangling.py", "null.py", "gone.py"]
    assert read(tmp_path, *paths) == dict.fromkeys(paths)


def test_an_unreadable_file_is_a_problem_that_names_the_reason(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.py": TOOL})
    (tmp_path / "a.py").chmod(0)
    assert run_bound(lambda: problem(tmp_path, "a.py")) == (
        "a.py unreadable: cannot be read: Permission denied"
    )


def test_a_link_to_itself_is_a_problem_that_names_the_reason(tmp_path: Path) -> None:
    (tmp_path / "a.py").symlink_to("a.py")
    assert problem(tmp_path, "a.py").startswith("a.py unreadable: cannot be read: Too many levels")


@pytest.mark.parametrize("place", [0, SIZE_LIMIT, (1 << 20) - 2])
def test_a_file_too_large_is_a_problem_where_it_holds_the_word(tmp_path: Path, place: int) -> None:
    rest = b"#" * (SIZE_LIMIT - place)
    write_files(
        tmp_path, {"a.py": b"#" * place + b"STAGE" + rest, "b.py": b"#" * place + rest + b"#"}
    )
    assert problem(tmp_path, "a.py") == (
        "a.py too-large: contains STAGE, but is too large to be read (2.0 MB, limit 2 MB)"
    )
    assert read(tmp_path, "b.py") == {"b.py": None}


def test_a_file_just_small_enough_is_read(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.py": TOOL.ljust(SIZE_LIMIT, "#")})
    assert isinstance(read(tmp_path, "a.py")["a.py"], ModuleFacts)


# Several processes.


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Even a few files are shared out, among four processes; the ids of the children."""
    children: list[int] = []
    fork = os.fork

    def counted() -> int:
        pid = fork()
        children.append(pid)
        return pid

    monkeypatch.setattr(parallel_map, "SHARE_FROM", 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "fork", counted)
    return children


def write_many(root: Path) -> list[tuple[str, str]]:
    """Files of every kind, and their modules."""
    files: dict[str, str | bytes] = {
        f"t{n}.py": f"STAGE = 'stage {n}'\ndef run(x={n}, *, é='\U0001f427'): 0\n" for n in range(5)
    }
    files["latin.py"] = b"# coding: latin-1\nSTAGE = '\xe9'\ndef run(): 0"
    files |= {"broken.py": "STAGE = (", "bad.py": b"STAGE = '\xff'"}
    files |= {"plain.py": "x = 1", "surrogate.py": "STAGE = '\\ud800'"}
    write_files(root, files)
    os.mkfifo(root / "fifo.py")
    names = [*sorted(path.name for path in root.iterdir()), "gone.py"]
    return [(name, module_of(name)) for name in names]


def test_forked_reading_gives_the_same_facts_as_serial(
    tmp_path: Path, forked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_many(tmp_path)
    shared = read_files(str(tmp_path), files)
    assert len(forked) == 3
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    serial = read_files(str(tmp_path), files)
    assert len(forked) == 3
    assert sorted(shared, key=lambda one: one[0]) == sorted(serial, key=lambda one: one[0])
    assert [path for path, _ in serial] == [path for path, _ in files]


def test_no_child_is_left_and_no_descriptor(tmp_path: Path, forked: list[int]) -> None:
    files = write_many(tmp_path)
    before = len(os.listdir("/dev/fd"))
    read_files(str(tmp_path), files)
    assert len(os.listdir("/dev/fd")) == before
    assert forked
    for pid in forked:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def in_children(deed: Callable[[], None]) -> Callable[[], int]:
    """`os.fork`, but each child does the deed before anything else."""
    fork = os.fork

    def forked() -> int:
        pid = fork()
        if pid == 0:
            deed()
        return pid

    return forked


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize("fault", ["a killed child", "an answer that breaks off", "no process"])
def test_the_share_of_a_child_that_fails_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    files = write_many(tmp_path)
    whole = sorted(read_files(str(tmp_path), files), key=lambda one: one[0])
    before = len(os.listdir("/dev/fd"))

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def halve() -> None:  # what a child writes is its whole answer less the end
        encode = msgspec.msgpack.encode
        monkeypatch.setattr(msgspec.msgpack, "encode", lambda facts: encode(facts)[:-10])

    def refused() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    forks = {"a killed child": in_children(die), "an answer that breaks off": in_children(halve)}
    monkeypatch.setattr(os, "fork", forks.get(fault, refused))
    assert sorted(read_files(str(tmp_path), files), key=lambda one: one[0]) == whole
    assert len(os.listdir("/dev/fd")) == before


def test_nothing_is_forked_for_a_few_files_or_beside_another_thread(
    tmp_path: Path, forked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_many(tmp_path)
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        read_files(str(tmp_path), files)
    finally:
        over.set()
        thread.join()
    monkeypatch.setattr(parallel_map, "SHARE_FROM", len(files) + 1)
    read_files(str(tmp_path), files)
    assert forked == []


# What others refer to, `orchconf.py`, near misses.


def test_a_module_that_is_referred_to_offers_what_can_be_read_of_it(tmp_path: Path) -> None:
    write_files(
        tmp_path, {"a.py": "X = 'x'", "p/__init__.py": "from . import q", "bad.py": "X = ("}
    )
    os.mkfifo(tmp_path / "fifo.py")

    def offers(path: str, module: str) -> ReferencedFacts:
        return read_exports_of(str(tmp_path), path, module)

    assert offers("a.py", "a") == Exports(module="a", constants={"X": "x"})
    assert offers("p/__init__.py", "p") == Exports(
        module="p", is_package=True, aliases={"q": NameRef(name="p.q")}
    )
    assert offers("bad.py", "bad") == Exports(module="bad")
    assert offers("fifo.py", "fifo") is None
    assert offers("gone.py", "gone") is None


def test_orchconf_is_what_it_offers_or_one_problem(tmp_path: Path) -> None:
    assert read_orchconf(str(tmp_path), "orchconf.py") is None
    write_files(tmp_path, {"orchconf.py": "def get_connection(): 0"})
    found = read_orchconf(str(tmp_path), "orchconf.py")
    assert found == ConfFacts(path="orchconf.py", connection_line=1)
    write_files(tmp_path, {"orchconf.py": b"STAGE" + b"#" * SIZE_LIMIT})
    found = read_orchconf(str(tmp_path), "orchconf.py")
    assert isinstance(found, BrokenModule)
    assert found.problem.code == "too-large"


def test_near_misses_are_those_without_the_word_that_have_a_run(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "a.py": "x = 1\ndef run(): 0",
            "b.py": "def walk(): 0",
            "c.py": "def run(: not Python",
            "d.py": TOOL,
            "e.py": "'run'",
        },
    )
    paths = [(f"{name}.py", name) for name in "abcdef"]
    found = list(find_near_misses(str(tmp_path), paths))
    assert [(one.path, one.line) for one in found] == [("a.py", 2)]
    assert "STAGE" in found[0].reason
