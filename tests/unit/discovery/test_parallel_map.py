"""Many files are read in several processes: the same as in one, and one bad file hides no other."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from discover_orch.config.project import Project
from discover_orch.discovery import parallel_map
from discover_orch.discovery.source_files import SourceFiles
from discover_orch.source.source_file import SourceFile
from tests.support.project_builder import write_files


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


def read_files(root: Path, paths: list[str]) -> list[SourceFile | None]:
    files = SourceFiles(Project(root=str(root)))
    files.read_all(paths)
    found = [files.read(path) for path in paths]
    # Of a file that was written just now the signature depends on when it is read.
    return [None if one is None else replace(one, signature="") for one in found]


def write_many(root: Path) -> list[str]:
    """Files of every kind."""
    files: dict[str, str | bytes] = {
        f"t{n}.py": f"STAGE = 'stage {n}'\ndef run(x={n}, *, é='\U0001f427'): 0\n" for n in range(5)
    }
    files["latin.py"] = b"# coding: latin-1\nSTAGE = '\xe9'\ndef run(): 0"
    files |= {"broken.py": "STAGE = (", "bad.py": b"STAGE = '\xff'"}
    files |= {"plain.py": "x = 1", "surrogate.py": "STAGE = '\\ud800'"}
    write_files(root, files)
    os.mkfifo(root / "fifo.py")
    return [*sorted(path.name for path in root.iterdir()), "gone.py"]


def test_forked_reading_gives_the_same_facts_as_serial(
    tmp_path: Path, forked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_many(tmp_path)
    shared = read_files(tmp_path, files)
    assert len(forked) == 3
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    serial = read_files(tmp_path, files)
    assert len(forked) == 3
    assert shared == serial
    assert sum(one is not None for one in serial) == len(files) - 2


def test_no_child_is_left_and_no_descriptor(tmp_path: Path, forked: list[int]) -> None:
    files = write_many(tmp_path)
    before = len(os.listdir("/dev/fd"))
    read_files(tmp_path, files)
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
    whole = read_files(tmp_path, files)
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
    assert read_files(tmp_path, files) == whole
    assert len(os.listdir("/dev/fd")) == before


def test_nothing_is_forked_for_a_few_files_or_beside_another_thread(
    tmp_path: Path, forked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_many(tmp_path)
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        read_files(tmp_path, files)
    finally:
        over.set()
        thread.join()
    monkeypatch.setattr(parallel_map, "SHARE_FROM", len(files) + 1)
    read_files(tmp_path, files)
    assert forked == []
