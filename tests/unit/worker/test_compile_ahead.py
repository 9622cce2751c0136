"""What is compiled ahead is what a worker would compile, and hides nothing that Python says of a file."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from discover_orch.worker.compile_ahead import compile_ahead
from discover_orch.worker.project_imports import build_header, read_bytecode

Project = Callable[[Mapping[str, str | bytes]], Path]


@pytest.fixture(autouse=True)
def _keeps_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)


def bytecode_of(path: Path) -> Path:
    return Path(importlib.util.cache_from_source(str(path)))


def test_a_worker_finds_the_code_that_it_would_compile(project: Project) -> None:
    text = "from __future__ import annotations\nX: int = -1 + 2\n\ndef f(a=b'\\0'):\n    'Doc.'\n"
    root = project({"a/b.py": text})
    path = root / "a/b.py"
    compile_ahead(str(path))
    found = read_bytecode(str(bytecode_of(path)), str(path), build_header(text.encode()))
    assert found == compile(text, str(path), "exec", dont_inherit=True)
    assert read_bytecode(str(bytecode_of(path)), str(path), build_header(b"other")) is None
    before = bytecode_of(path).stat()
    compile_ahead(str(path))
    assert bytecode_of(path).stat() == before


@pytest.mark.parametrize("is_error", [False, True])
def test_a_file_with_a_warning_or_an_error_is_left_to_the_worker(
    project: Project, *, is_error: bool
) -> None:
    texts: dict[str, str | bytes] = {
        "is.py": "print(1 is 1)\n",
        "escape.py": "PATTERN = '\\d'\n",
        "outside.py": "return\n",
        "cut.py": "def f(:\n",
        "null.py": b"\0",
        "encoding.py": b"# coding: nonsense\n",
        "deep.py": "x = " + "(" * 1000 + ")" * 1000,
    }
    root = project(texts)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("error" if is_error else "always")
        for name in texts:
            compile_ahead(str(root / name))
    assert not shown
    assert not list(root.rglob("*.pyc*"))


def test_bytecode_that_is_not_wanted_or_not_possible_stops_nothing(project: Project) -> None:
    root = project({"one.py": "", "__pycache__": "a file in the way"})
    compile_ahead(str(root / "one.py"))
    compile_ahead(str(root / "gone.py"))
    (root / "__pycache__").unlink()
    sys.dont_write_bytecode = True
    compile_ahead(str(root / "one.py"))
    assert [path.name for path in root.iterdir()] == ["one.py"]
