"""The eye, with real files: what it finds, and that it reads again only what has changed."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.config.project import Project
from discover_orch.discovery import scanner, source_files
from discover_orch.discovery.source_files import PythonPath, SourceFiles
from discover_orch.source.facts import Scan
from tests.support.project_builder import write_files

TOOL = "STAGE = 'ingest'\ndef run(): 0\n"

LONG_AFTER = 10**9 * 3600


def project_at(root: Path, **table: object) -> Project:
    project, problems = Project.from_table(table, root=str(root), config="orch.toml", environ={})
    assert problems == ()
    return project


class Eye:
    """Looks at a tree again and again, each time with what the look before has kept."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.read: list[str] = []  # what the last look has read
        self._is_early = False
        read_source = source_files.read_source

        def noted(root: str, path: str) -> object:
            self.read.append(path)
            return read_source(root, path)

        monkeypatch.setattr(source_files, "read_source", noted)
        for module in (scanner, source_files):
            monkeypatch.setattr(module, "time", types.SimpleNamespace(time_ns=self._time))

    def _time(self) -> int:
        """Far ahead of the files, so that none counts as just written; see `is_early`."""
        times = [path.lstat().st_ctime_ns for path in self.root.rglob("*.py")]
        return min(times) if self._is_early else max(times) + LONG_AFTER

    def look(self, *, is_early: bool = False) -> Scan:
        """`is_early`: within the tick of the clock in which the files were written."""
        self.read = []
        self._is_early = is_early
        project = project_at(self.root)
        files = SourceFiles(project)
        found = scanner.scan(project, files)
        assert files.write()
        self.read.sort()
        return found

    def write(self, files: Mapping[str, str | bytes]) -> None:
        write_files(self.root, files)


@pytest.fixture
def detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Eye:
    return Eye(tmp_path, monkeypatch)


def stages(found: Scan) -> dict[str, Sequence[object]]:
    return {one.module: one.stage.words for one in found.modules if one.stage}


def test_only_changed_files_are_read_again(detector: Eye) -> None:
    detector.write({"src/a.py": TOOL, "src/b.py": TOOL, "src/c.py": "x = 1", "orchconf.py": ""})
    first = detector.look()
    assert detector.read == ["orchconf.py", "src/a.py", "src/b.py", "src/c.py"]
    assert detector.look() == first
    assert detector.read == []
    detector.write({"src/b.py": TOOL.replace("ingest", "other"), "src/d.py": TOOL})
    (detector.root / "src/a.py").unlink()
    assert stages(detector.look()) == {"src.b": ("other",), "src.d": ("ingest",)}
    assert detector.read == ["src/b.py", "src/d.py"]


def test_a_file_that_may_change_again_unseen_is_read_again(detector: Eye) -> None:
    detector.write(
        {"src/a.py": TOOL, "src/b.py": "import x\nSTAGE = x.X\ndef run(): 0", "x.py": "X = 'x'"}
    )
    detector.look(is_early=True)
    again = detector.look()
    assert {*detector.read} == {"src/a.py", "src/b.py", "x.py"}
    assert detector.look() == again
    assert detector.read == []


def test_a_changed_constant_elsewhere_is_read_again_with_the_tools_that_name_it(
    detector: Eye,
) -> None:
    text = "import x\nSTAGE = x.X\ndef run(): 0"
    detector.write({"src/a.py": text, "src/b.py": TOOL, "x.py": "X = 'old'"})
    assert stages(detector.look()) == {"src.a": ("old",), "src.b": ("ingest",)}
    detector.write({"x.py": "X = 'newer'"})
    assert stages(detector.look()) == {"src.a": ("newer",), "src.b": ("ingest",)}
    assert {*detector.read} == {"src/a.py", "x.py"}
    (detector.root / "x.py").unlink()
    assert stages(detector.look())["src.a"] == ()


def test_two_modules_that_name_each_other_are_read_again_where_either_changes(
    detector: Eye,
) -> None:
    one = "from src.b import STAGE as S\nX = 'x'\nSTAGE = S\ndef run(): 0"
    detector.write({"src/a.py": one, "src/b.py": "from src.a import X\nSTAGE = X\ndef run(): 0"})
    assert stages(detector.look()) == {"src.a": ("x",), "src.b": ("x",)}
    detector.look()
    assert detector.read == []
    detector.write({"src/a.py": one.replace("'x'", "'why'")})
    assert stages(detector.look()) == {"src.a": ("why",), "src.b": ("why",)}


@given(st.lists(st.sampled_from([".", "src", "src/p", "lib"]), min_size=1, max_size=4), st.data())
def test_the_file_of_a_name_is_one_that_could_hold_it(
    entries: list[str], data: st.DataObject
) -> None:
    space = PythonPath(project_at(Path("/project"), pythonpath=entries))
    parts = data.draw(st.lists(st.sampled_from(["src", "p", "lib", "x"]), min_size=1, max_size=4))
    path = "/".join(parts) + data.draw(st.sampled_from([".py", "/__init__.py"]))
    name = space.name(path)
    assert not name or path in space.candidates(name)
