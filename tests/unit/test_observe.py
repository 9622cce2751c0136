"""What a tool wrote, as audit events tell it. Hooks stay for ever, so each test has a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support.project_builder import clean_environment

BEGIN = """
import os, pathlib, sys
from discover_orch.observe import Observer
observer = Observer({root!r})
"""
END = "\nimport json; print(json.dumps(observer.take_written()))\n"


def written(root: Path, code: str, *, given: str | None = None) -> list[str]:
    """What was seen of this code, run in the root; `given` is what the observer is told the root is."""
    program = BEGIN.format(root=given or str(root)) + textwrap.dedent(code) + END
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        env=clean_environment(PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    "code",
    [
        "open('x', 'w').close()",
        "open('x', 'a').close()",
        "open('x', 'xb').close()",
        "open('old', 'r+').close(); open('x', 'w')",
        "os.close(os.open('x', os.O_WRONLY | os.O_CREAT))",
        "os.close(os.open(b'x', os.O_RDWR | os.O_CREAT))",
        "pathlib.Path('x').write_text('')",
        "open(pathlib.Path('x'), 'wb').close()",
        "pathlib.Path('x').touch()",
        "os.symlink('old', 'x')",
        "os.link('old', 'x')",
        "import io; io.open('x', 'w').close()",
        "import tempfile; tempfile.NamedTemporaryFile(dir='.', prefix='x').close()",
        "import threading; t = threading.Thread(target=open, args=('x', 'w')); t.start(); t.join()",
    ],
)
def test_each_way_to_write_a_file_is_seen(tmp_path: Path, code: str) -> None:
    (tmp_path / "old").touch()
    assert any(path.startswith("x") for path in written(tmp_path, code))


def test_moving_and_removing_are_seen_with_both_names(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).touch()
    code = "os.rename('a', 'a2'); os.replace('b', 'b2'); os.remove('c'); pathlib.Path('d').unlink()"
    assert written(tmp_path, code) == ["a", "a2", "b", "b2", "c", "d"]


def test_truncating_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    assert written(tmp_path, "os.truncate('a', 0)") == ["a"]


@pytest.mark.parametrize(
    "code",
    [
        "open('old').read()",
        "open('old', 'rb').close()",
        "os.close(os.open('old', os.O_RDONLY))",
        "pathlib.Path('old').read_text()",
        "os.stat('old'); os.listdir('.'); os.path.exists('x')",
        "import module",
        "try: open('absent')\nexcept OSError: pass",
    ],
)
def test_reading_is_not_writing(tmp_path: Path, code: str) -> None:
    (tmp_path / "old").touch()
    (tmp_path / "module.py").touch()
    assert written(tmp_path, code) == []


def test_paths_are_relative_to_the_root_wherever_the_tool_stands(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    code = """
    open('./sub/../one', 'w').close()
    os.chdir('sub')
    open('two', 'w').close()
    open(os.path.abspath('three'), 'w').close()
    """
    assert written(tmp_path, code) == ["one", "sub/two", "sub/three"]


def test_what_lies_outside_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root-2").mkdir()
    code = "open('../root-2/x', 'w').close(); open('../y', 'w').close(); open('z', 'w').close()"
    assert written(tmp_path / "root", code) == ["z"]


def test_a_root_behind_a_link_is_seen_by_either_name(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    code = f"open({str(tmp_path / 'link' / 'a')!r}, 'w'); open({str(tmp_path / 'real' / 'b')!r}, 'w'); open('c', 'w')"
    assert written(tmp_path / "real", code, given=str(tmp_path / "link")) == ["a", "b", "c"]


def test_each_file_is_told_once_in_order_and_then_forgotten(tmp_path: Path) -> None:
    code = """
    for name in 'baab':
        open(name, 'w').close()
    assert observer.take_written() == ('b', 'a')
    open('c', 'w').close()
    """
    assert written(tmp_path, code) == ["c"]


def test_names_that_are_no_text_survive(tmp_path: Path) -> None:
    assert written(tmp_path, r"open(b'\xff', 'w').close()") == ["\udcff"]


@pytest.mark.parametrize(
    "code",
    [
        "r, w = os.pipe(); os.fdopen(w, 'w').close(); os.close(r)",  # a descriptor has no path
        "sys.audit('open', None, None, os.O_WRONLY)",
        "sys.audit('open', object(), 'w', os.O_WRONLY)",
        "sys.audit('os.rename')",
        "sys.audit('os.remove', b'\\0', -1)",
        "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')\n"
        "try: open('x', 'w')\nexcept OSError: pass\nos.chdir('/')",
    ],
)
def test_whatever_happens_it_does_not_raise(tmp_path: Path, code: str) -> None:
    assert "x" not in written(tmp_path, code)


@pytest.mark.parametrize(
    "code",
    [
        "sys.audit('open')",  # nobody does so but a library that plays with audit events
        "class Odd:\n    def __fspath__(self): raise RuntimeError\n"
        "sys.audit('os.remove', Odd(), -1)",
    ],
)
def test_not_even_for_events_that_are_made_up(tmp_path: Path, code: str) -> None:
    assert written(tmp_path, code) == []
