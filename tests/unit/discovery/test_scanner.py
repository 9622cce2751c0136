"""The eye, with real files: what it finds, and that it reads again only what has changed."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.config.project import Project
from discover_orch.discovery import parse_files, scanner
from discover_orch.discovery.facts_index import FileFacts, ReferencedFacts, ScanIndex
from discover_orch.discovery.scanner import PythonPath, scanned_folders
from discover_orch.discovery.tree import ABSENT, signature_of
from discover_orch.source.facts import Scan
from discover_orch.state.store import Index, open_index, write_index
from tests.support.permissions import run_bound
from tests.support.project_builder import write_files
from tests.support.values import said

TOOL = "STAGE = 'ingest'\ndef run(): 0\n"

LONG_AFTER = 10**9 * 3600


def project_at(root: Path, **table: object) -> Project:
    project, problems = Project.from_table(table, root=str(root), config="orch.toml", environ={})
    assert problems == ()
    return project


class Eye:
    """Looks at a tree again and again, each time with the index of the look before."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.index: Index | None = None
        self.read: list[str] = []  # what the last look has read
        self.table: dict[str, object] = {}
        self._now = LONG_AFTER
        read_files, read_exports_of = parse_files.read_files, parse_files.read_exports_of

        def noted(root: str, files: list[tuple[str, str]]) -> list[tuple[str, FileFacts]]:
            self.read += [path for path, _ in files]
            return read_files(root, files)

        def noted_referred(root: str, path: str, module: str) -> ReferencedFacts:
            self.read.append(f"{path} for its constants")
            return read_exports_of(root, path, module)

        monkeypatch.setattr(parse_files, "read_files", noted)
        monkeypatch.setattr(parse_files, "read_exports_of", noted_referred)
        monkeypatch.setattr(scanner, "time", types.SimpleNamespace(time_ns=self._time))

    def _time(self) -> int:
        """Far ahead of the files, so that none counts as just written; see `is_early`."""
        newest = max((path.lstat().st_ctime_ns for path in self.root.rglob("*")), default=0)
        return newest + self._now

    def look(self, *, is_early: bool = False, is_wide: bool = False) -> Scan:
        """`is_early`: within the tick of the clock in which the last file was written."""
        self.read = []
        self._now = 0 if is_early else LONG_AFTER
        found, snapshot, self.scanned = scanner.scan(
            project_at(self.root, **self.table), self.index, key="f", is_wide=is_wide
        )
        self.snapshot = snapshot
        self.remember(snapshot)
        self.read.sort()
        return found

    def remember(self, snapshot: ScanIndex) -> None:
        parts = {"tree": snapshot.tree, "facts": snapshot.facts}
        assert write_index(str(self.root), "1", snapshot.header, parts)
        self.index = open_index(str(self.root), "1")
        assert self.index is not None

    def write(self, files: Mapping[str, str | bytes]) -> None:
        write_files(self.root, files)


@pytest.fixture
def detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Eye:
    return Eye(tmp_path, monkeypatch)


def stages(found: Scan) -> dict[str, Sequence[object]]:
    return {one.module: one.stage.words for one in found.modules if one.stage}


def test_a_constant_of_another_module_is_followed_even_out_of_the_scanned_folders(
    detector: Eye,
) -> None:
    detector.table = {"packages": ["src"]}
    detector.write(
        {
            "src/a.py": "from lib import INGEST as STAGE_NAME\nSTAGE = STAGE_NAME\ndef run(): 0",
            "lib/names.py": "INGEST = 'ingest'",
            "lib/__init__.py": "from .names import INGEST",
        }
    )
    assert stages(detector.look()) == {"src.a": ("ingest",)}
    extras = detector.snapshot.header["extras"]
    assert isinstance(extras, list)
    assert {"lib/names.py", "lib/__init__.py"} <= {*extras}


def test_of_two_modules_of_one_name_the_one_that_python_would_import_counts(detector: Eye) -> None:
    detector.table = {"packages": ["src/flow"], "pythonpath": ["src", "."]}
    detector.write(
        {
            "src/flow/a.py": "import names\nSTAGE = names.X\ndef run(): 0",
            "src/names.py": "X = 'first'",
            "names.py": "X = 'second'",
        }
    )
    assert stages(detector.look()) == {"flow.a": ("first",)}
    detector.table["pythonpath"] = [".", "src"]
    assert stages(detector.look()) == {"flow.a": ("second",)}


def test_excluding_does_not_limit_what_others_may_refer_to(detector: Eye) -> None:
    detector.table = {"exclude": ["names.py"]}
    detector.write(
        {"src/a.py": "from .names import X\nSTAGE = X\ndef run(): 0", "src/names.py": "X = 'x'"}
    )
    assert stages(detector.look()) == {"src.a": ("x",)}


def test_a_folder_that_cannot_be_listed_is_told(tmp_path: Path) -> None:
    write_files(tmp_path, {"src/a.py": TOOL, "src/p/b.py": TOOL})
    (tmp_path / "src/p").chmod(0)

    def problems() -> str:
        found, _, _ = scanner.scan(project_at(tmp_path))
        return f"{len(found.modules)} {said(found.problems)}"

    try:
        answer = run_bound(problems)
    finally:
        (tmp_path / "src/p").chmod(0o700)
    assert answer == (
        "1 ['src/p: cannot be listed: Permission denied"
        " (change its permissions, or add it to exclude)']"
    )


def test_only_changed_files_are_read_again(detector: Eye) -> None:
    detector.write({"src/a.py": TOOL, "src/b.py": TOOL, "src/c.py": "x = 1", "orchconf.py": ""})
    first = detector.look()
    assert detector.read == ["src/a.py", "src/b.py", "src/c.py"]
    assert detector.look() == first
    assert detector.read == []
    detector.write({"src/b.py": TOOL.replace("ingest", "other"), "src/d.py": TOOL})
    (detector.root / "src/a.py").unlink()
    assert stages(detector.look()) == {"src.b": ("other",), "src.d": ("ingest",)}
    assert detector.read == ["src/b.py", "src/d.py"]


def test_a_look_tells_the_signatures_of_what_it_met(detector: Eye) -> None:
    detector.write({"src/a.py": TOOL, "src/b.py": "x = 1"})
    detector.look()
    found = {path: one.removeprefix("?") for path, one in detector.scanned.items()}
    assert found == {
        **{path: signature_of(str(detector.root / path)) for path in ("src/a.py", "src/b.py")},
        "orchconf.py": ABSENT,
    }


def test_an_unchanged_tree_has_an_equal_text(detector: Eye) -> None:
    detector.write({"src/a.py": TOOL})
    detector.look()
    before = detector.snapshot
    detector.look()
    again = detector.snapshot
    assert (again.header, again.tree, again.facts) == (before.header, before.tree, before.facts)
    detector.write({"src/a.py": TOOL + "#"})
    detector.look()
    assert detector.snapshot.tree != before.tree


def test_a_file_that_may_change_again_unseen_is_read_again(detector: Eye) -> None:
    detector.write(
        {"src/a.py": TOOL, "src/b.py": "import x\nSTAGE = x.X\ndef run(): 0", "x.py": "X = 'x'"}
    )
    detector.look(is_early=True)
    before = detector.snapshot.tree
    again = detector.look()
    assert detector.read == ["src/a.py", "src/b.py", "x.py for its constants"]
    assert detector.snapshot.tree != before
    assert detector.look() == again
    assert detector.read == []


def test_a_changed_constant_elsewhere_is_read_again_alone(detector: Eye) -> None:
    detector.write({"src/a.py": "import x\nSTAGE = x.X\ndef run(): 0", "x.py": "X = 'old'"})
    assert stages(detector.look()) == {"src.a": ("old",)}
    detector.write({"x.py": "X = 'newer'"})
    assert stages(detector.look()) == {"src.a": ("newer",)}
    assert detector.read == ["x.py for its constants"]
    (detector.root / "x.py").unlink()
    assert stages(detector.look()) == {"src.a": ()}


def test_a_module_that_comes_before_the_one_referred_to_is_noticed(detector: Eye) -> None:
    detector.write({"src/a.py": "import x\nSTAGE = x.X\ndef run(): 0", "x.py": "X = 'file'"})
    assert stages(detector.look()) == {"src.a": ("file",)}
    before = detector.snapshot.tree
    detector.write({"x/__init__.py": "X = 'package'"})
    assert stages(detector.look()) == {"src.a": ("package",)}
    assert detector.snapshot.tree != before


def test_another_pythonpath_forgets_all_since_modules_have_other_names(detector: Eye) -> None:
    detector.write({"src/a.py": TOOL})
    detector.look()
    detector.table = {"pythonpath": ["src", "."]}
    assert stages(detector.look()) == {"a": ("ingest",)}
    assert detector.read == ["src/a.py"]


@pytest.mark.parametrize(
    "files",
    [
        {"src/a.py": "STAGE = 'x'\ndef run(api_token='hunter22-hunter22'): 0"},
        {
            "src/a.py": "from x import run\nSTAGE = 'x'",
            "x.py": "def run(password='hunter22-hunter22'): 0",
        },
        {"src/a.py": "import x\nSTAGE = x.X", "x.py": "X = 'x'\nAPI_KEY = 'hunter22-hunter22'"},
    ],
)
def test_a_secret_is_never_written_down(detector: Eye, files: dict[str, str]) -> None:
    detector.write(files)
    first = detector.look()
    assert "hunter22" not in detector.snapshot.facts + json.dumps(dict(detector.snapshot.header))
    assert detector.look() == first
    assert len(detector.read) == 1


def broken(found: Scan) -> dict[str, tuple[str, ...]]:
    return {one.path: one.stages for one in found.broken}


def test_a_broken_file_keeps_the_stages_of_its_last_good_scan(detector: Eye) -> None:
    detector.write({"src/a.py": "STAGE = ('ingest', 'later')\ndef run(): 0"})
    detector.look()
    for text in ("def (\nSTAGE = 1", "def ((\nSTAGE = 1"):
        detector.write({"src/a.py": text})
        assert broken(detector.look()) == {"src/a.py": ("ingest", "later")}
        assert broken(detector.look()) == {"src/a.py": ("ingest", "later")}
    detector.write({"src/a.py": TOOL})
    assert broken(detector.look()) == {}


def test_what_a_broken_file_still_states_goes_before_its_last_good_scan(detector: Eye) -> None:
    detector.write({"src/a.py": TOOL})
    detector.look()
    detector.write({"src/a.py": "STAGE = 'later'\ndef ("})
    assert broken(detector.look()) == {"src/a.py": ("later",)}


def test_stages_of_a_file_that_has_gone_are_forgotten(detector: Eye) -> None:
    detector.write({"src/a.py": TOOL})
    detector.look()
    (detector.root / "src/a.py").unlink()
    detector.look()
    detector.write({"src/a.py": "def (\nSTAGE = 1"})
    assert broken(detector.look()) == {"src/a.py": ()}


def test_a_module_is_named_from_the_deepest_entry_that_holds_it(tmp_path: Path) -> None:
    space = PythonPath(project_at(tmp_path, pythonpath=[".", "src", "./src/deep/"]))
    assert space.name("src/deep/a.py") == "a"
    assert space.name("src/deeper/a.py") == "deeper.a"
    assert space.name("other/p/__init__.py") == "other.p"
    assert PythonPath(project_at(tmp_path, pythonpath=["src"])).name("lib/a.py") == ""


def test_a_module_is_looked_for_in_the_order_of_import(tmp_path: Path) -> None:
    space = PythonPath(project_at(tmp_path, pythonpath=["src/deep", ".", "lib", "."]))
    assert space.candidates("a.b") == [
        *("src/deep/a/b/__init__.py", "src/deep/a/b.py"),
        *("a/b/__init__.py", "a/b.py"),
        *("lib/a/b/__init__.py", "lib/a/b.py"),
    ]


@given(st.lists(st.sampled_from([".", "src", "src/p", "lib"]), min_size=1, max_size=4), st.data())
def test_the_file_of_a_name_is_one_that_could_hold_it(
    entries: list[str], data: st.DataObject
) -> None:
    space = PythonPath(project_at(Path("/project"), pythonpath=entries))
    parts = data.draw(st.lists(st.sampled_from(["src", "p", "lib", "x"]), min_size=1, max_size=4))
    path = "/".join(parts) + data.draw(st.sampled_from([".py", "/__init__.py"]))
    name = space.name(path)
    assert not name or path in space.candidates(name)


def test_the_scanned_folders_are_relative_to_the_root(tmp_path: Path) -> None:
    write_files(tmp_path, {"src/x": "", "lib/a/x": ""})
    assert scanned_folders(project_at(tmp_path)) == ["src"]
    assert scanned_folders(project_at(tmp_path, packages=[".", "lib.a"])) == ["", "lib/a"]
