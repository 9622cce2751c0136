"""What the code of each tool means now is kept from one command to the next: the same as without any memory."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discover_orch.config.project import Project
from discover_orch.discovery import source_files
from discover_orch.discovery.source_files import SourceFiles
from discover_orch.discovery.tree import read_file_mark
from discover_orch.model.encoding import content_hash
from discover_orch.source.source_file import read_source_file
from discover_orch.staleness.import_graph import CodeState, ImportGraph
from tests.support.permissions import run_bound
from tests.support.project_builder import write_files

YEARS_AGO = 1_000_000_000


def project_at(root: Path, **table: object) -> Project:
    project, problems = Project.from_table(table, root=str(root), config="orch.toml", environ={})
    assert problems == ()
    return project


def look(project: Project, *modules: str) -> dict[str, CodeState]:
    """As a command does: reads, and keeps."""
    graph = ImportGraph(project)
    codes = graph.read_code(modules)
    assert graph.files.write()
    return codes


def said_anew(project: Project, modules: Sequence[str]) -> dict[str, CodeState]:
    """The same without any memory, one module after the other."""
    found: dict[str, CodeState] = {}
    for module in modules:
        graph = ImportGraph(project)
        graph.files._kept.clear()
        found |= graph.read_code([module])
    return found


def settle(root: Path) -> None:
    """Files that changed a while ago. The time of the change itself cannot be set, so it is waited for."""
    newest = max(path.stat().st_ctime_ns for path in root.rglob("*.py"))
    probe = root / "probe.txt"
    while True:
        probe.write_text("")
        if probe.stat().st_ctime_ns > newest + 30_000_000:
            probe.unlink()
            return


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that were read by a parser, in their order."""
    found: list[str] = []

    def remember(data: bytes, path: str, *rest: Any, **more: Any) -> object:
        found.append(path)
        return read_source_file(data, path, *rest, **more)

    monkeypatch.setattr("discover_orch.discovery.source_files.read_source_file", remember)
    return found


FILES = {
    "src/a.py": "import lib.b\nimport json, click\ndef run():\n    import numpy.linalg\n",
    "src/c.py": "from lib import b\n",
    "lib/b.py": "x = 1\n",
}


def test_a_second_look_parses_nothing_and_writes_nothing(tmp_path: Path, parsed: list[str]) -> None:
    write_files(tmp_path, FILES)
    settle(tmp_path)
    project = project_at(tmp_path)
    first = look(project, "src.a", "src.c")
    assert sorted(parsed) == ["lib/b.py", "src/a.py", "src/c.py"]
    kept = (tmp_path / ".orch/files").stat()
    codes = look(project, "src.c", "src.a")
    assert codes == first
    assert [*codes] == ["src.c", "src.a"]
    assert (tmp_path / ".orch/files").stat() == kept
    assert len(parsed) == 3


def test_a_second_look_loads_no_parser(tmp_path: Path) -> None:
    write_files(tmp_path, FILES)
    settle(tmp_path)
    look(project_at(tmp_path), "src.a")
    program = f"""if True:
        import sys
        from discover_orch.staleness.import_graph import ImportGraph
        from discover_orch.config.project import Project
        graph = ImportGraph(Project(root={str(tmp_path)!r}))
        codes = graph.read_code(["src.a"])
        assert graph.files.write()
        print(len(codes["src.a"].meanings), "discover_orch.source.parse" in sys.modules, "discover_orch.source.read_module" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("2 False False\n", "")


def test_a_file_that_was_saved_twice_within_the_tick_of_a_clock_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of some file systems moves every two seconds: both saves and both looks can be within that time."""
    write_files(tmp_path, FILES)
    project = project_at(tmp_path)
    stamps = {path: f"6 {YEARS_AGO} 1 {time.time_ns()}" for path in ("src/a.py", "lib/b.py")}
    monkeypatch.setattr(
        source_files,
        "read_file_mark",
        lambda full: next(
            (one for path, one in stamps.items() if full.endswith(path)), read_file_mark(full)
        ),
    )
    monkeypatch.setattr(source_files, "is_racy", lambda _mark, _now: True)

    def scanned() -> SourceFiles:
        files = SourceFiles(project)
        files.marks = {path: "?" + one for path, one in stamps.items()}
        return files

    graph = ImportGraph(project, scanned())
    first = graph.read_code(["src.a"])
    assert graph.files.write()
    (tmp_path / "lib/b.py").write_text("x = 2\n")
    assert ImportGraph(project, scanned()).read_code(["src.a"]) != first


def test_a_file_that_has_just_changed_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path, FILES)
    settle(tmp_path)
    project = project_at(tmp_path)
    saved = tmp_path / "lib/b.py"
    # However slow this machine is, each look follows at once.
    monkeypatch.setattr(time, "time_ns", lambda: saved.stat().st_ctime_ns + 1)
    for number in range(5):
        saved.write_text(f"x = {number}\n")
        assert look(project, "src.a") == said_anew(project, ["src.a"])
        document = document_in((tmp_path / ".orch/files").read_bytes())
        kept = {path: file[0] for path, file in document.items()}
        assert (kept["lib/b.py"][0], kept["src/a.py"][0] == "?") == ("?", False)


def test_a_command_looks_at_each_file_once_and_finds_new_modules(tmp_path: Path) -> None:
    write_files(tmp_path, {**FILES, "src/c.py": "import made"})
    project = project_at(tmp_path)
    graph = ImportGraph(project)
    first = graph.read_code(["src.a", "src.c"])
    write_files(
        tmp_path, {"lib/b.py": "import a\n", "made.py": "", "src/d.py": "import lib.b, made"}
    )
    assert graph.read_code(["src.a", "src.c"]) == first
    now = graph.read_code(["src.d"])["src.d"]
    assert now.meanings.keys() == {"src/d.py", "lib/b.py", "made.py"}
    assert now.hashes["lib/b.py"] == first["src.a"].hashes["lib/b.py"]
    assert "made.py" in graph.read_code(["src.c"])["src.c"].meanings


def test_a_file_that_cannot_be_parsed_means_its_bytes(tmp_path: Path) -> None:
    write_files(tmp_path, FILES)
    project = project_at(tmp_path)
    look(project, "src.a")
    (tmp_path / "src/a.py").write_text("import lib.b\n)")
    found = look(project, "src.a")["src.a"]
    assert found.meanings == {"src/a.py": content_hash(b"import lib.b\n)")}


def test_whoever_cannot_read_a_file_does_not_decide_for_the_next(tmp_path: Path) -> None:
    write_files(tmp_path, {**FILES, "shown": ""})
    (tmp_path / ".orch").mkdir(mode=0o777)
    (tmp_path / ".orch").chmod(0o777)
    settle(tmp_path)
    project = project_at(tmp_path)
    (tmp_path / "lib/b.py").chmod(0)
    settle(tmp_path)

    def hidden() -> str:
        found = look(project, "src.a")["src.a"]
        return repr((found.hashes["lib/b.py"], found.meanings["lib/b.py"]))

    assert run_bound(hidden) == "('', '')"
    assert run_bound(hidden) == "('', '')"
    if os.access(tmp_path / "lib/b.py", os.R_OK):  # root may read it all the same
        assert look(project, "src.a") == said_anew(project, ["src.a"])
    (tmp_path / "lib/b.py").chmod(0o600)
    assert look(project, "src.a") == said_anew(project, ["src.a"])


def test_another_pythonpath_is_another_code(tmp_path: Path) -> None:
    write_files(tmp_path, {"src/a.py": "import b", "src/b.py": "", "b.py": ""})
    for places in (["src", "."], [".", "src"], ["src"]):
        project = project_at(tmp_path, pythonpath=places)
        assert look(project, "a") == said_anew(project, ["a"])


def test_a_file_under_two_names_is_told_by_both(tmp_path: Path) -> None:
    """`from . import x` means one thing in `src.p.b` and another in `p.b`."""
    write_files(
        tmp_path,
        {
            "src/a.py": "import src.p.b",
            "src/p/b.py": "from p import c",
            "src/p/c.py": "",
            "src/p/d.py": "",
        },
    )
    settle(tmp_path)
    project = project_at(tmp_path, pythonpath=[".", "src"])
    more = "\nfrom .c import x"
    for text in ("from . import c", "from p import c", "from . import d", "from p import d"):
        for wanted in (["a"], ["p.b"], ["a", "p.b"]):  # each alone is looked at in the same files
            for ending in ("", more):
                (tmp_path / "src/p/b.py").write_text(text + ending)
                for _ in range(2):
                    assert look(project, *wanted) == said_anew(project, wanted)
                    settle(tmp_path)


def test_another_name_of_a_file_is_not_forgotten_when_only_its_own_is_asked_for(
    tmp_path: Path,
) -> None:
    """By its own name, `p.b`, both texts import the same; by the other one, `src.p.b`, they do not."""
    write_files(
        tmp_path, {"src/a.py": "import src.p.b", "src/p/b.py": "from . import c\nfrom .c import x"}
    )
    settle(tmp_path)
    project = project_at(tmp_path, pythonpath=[".", "src"])
    look(project, "a")
    look(project, "p.b")
    (tmp_path / "src/p/b.py").write_text("from p import c\nfrom .c import x")
    assert look(project, "a") == said_anew(project, ["a"])
    look(project, "p.b")
    (tmp_path / "src/p/b.py").write_text("from . import c\nfrom p.c import x")
    assert look(project, "a") == said_anew(project, ["a"])


def document_in(raw: bytes) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(raw[raw.index(b"{") :])
    return document


def damaged(raw: bytes) -> list[bytes]:
    kind = raw[9 : raw.index(b"{")]

    def sealed(document: object) -> bytes:
        line = kind + json.dumps(document).encode() + b"\n"
        return b"%08x %s" % (zlib.crc32(line), line)

    document = document_in(raw)
    others: list[object] = [None, {}, [1], {"src/a.py": [[0], [], [], []]}]
    changed = [{**document, name: other} for name in document for other in others]
    return [b"", raw[:40], raw[:-1], b"\0" * 100, *map(sealed, [{}, [1], *changed])]


def test_what_is_damaged_is_computed_anew(tmp_path: Path) -> None:
    write_files(tmp_path, FILES)
    settle(tmp_path)
    project = project_at(tmp_path)
    first = look(project, "src.a", "src.c")
    kept = tmp_path / ".orch/files"
    raw = kept.read_bytes()
    for data in damaged(raw):
        kept.write_bytes(data)
        assert look(project, "src.a", "src.c") == first
        assert kept.read_bytes() == raw


# The law: whatever happened to the files, memory says what a look without memory says.

PLACES = ("a", "b", "lib/__init__", "lib/c", "lib/d", "lib/a", "b/__init__", "lib/c/__init__")
PATHS = tuple(f"{folder}{name}.py" for folder in ("", "src/") for name in PLACES)
TEXTS = (
    *("", "x = 1\n", "x = 1  # why\n", "x = (\n", "import a, json", "import b\nimport click"),
    *(
        "from lib import c",
        "from . import d",
        "from .c import x",
        "import src.lib.d",
        "from lib import *",
    ),
    *(
        "def run():\n    import b",
        "import lib.c.e",
        "import sys\nsys.path.append('x')",
        "import no.one",
    ),
    *("from importlib import import_module\nimport_module('lib.' + x)", "from src import a, b"),
)
MODULES = ("a", "src.a", "lib.c", "src.lib.c", "orchconf")

edits = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(PATHS), st.sampled_from(TEXTS)),
        st.tuples(st.sampled_from(("touch", "delete", "clear", "folder")), st.sampled_from(PATHS)),
        st.tuples(st.just("rename"), st.sampled_from(PATHS), st.sampled_from(PATHS)),
        st.tuples(st.just("look"), st.lists(st.sampled_from(MODULES), unique=True)),
    ),
    max_size=12,
)


_now = itertools.count(YEARS_AGO)


def edit(root: Path, what: str, path: str, *rest: str) -> None:
    """Each gives the file another time, since the clock of a file system may stand still meanwhile."""
    place = root / path
    try:
        if what == "write":
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(rest[0])
            os.utime(place, ns=(0, next(_now)))
        elif what == "touch":
            os.utime(place, ns=(0, next(_now)))
        elif what == "delete":
            place.unlink()
        elif what == "clear":
            shutil.rmtree(place.parent if place.parent != root else root / "lib")
        elif what == "folder":
            place.with_suffix("").mkdir(parents=True)
        else:
            os.rename(place, root / rest[0])
    except OSError:
        return  # there is no such file, or a folder stands in its place


@settings(max_examples=3 * settings().max_examples // 2)
@given(
    files=st.dictionaries(st.sampled_from(PATHS), st.sampled_from(TEXTS), max_size=8),
    steps=edits,
    places=st.sampled_from([["."], ["src", "."], [".", "src"]]),
    is_calm=st.booleans(),
)
def test_memory_says_what_a_look_without_memory_says(
    files: dict[str, str], steps: list[tuple[str, ...]], places: list[str], is_calm: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        if is_calm:  # as if each edit had been made a while ago: all marks count
            patch.setattr(source_files, "is_racy", lambda *_: False)
        root = Path(folder)
        for path, text in files.items():
            edit(root, "write", path, text)
        project = project_at(root, pythonpath=places)
        for what, *rest in [("look", MODULES), *steps, ("look", MODULES)]:
            if what == "look":
                asked = rest[0]
                assert look(project, *asked) == said_anew(project, asked)
            else:
                edit(root, what, *rest)  # type: ignore[arg-type]


def test_a_file_that_was_only_touched_imports_what_it_did(tmp_path: Path) -> None:
    write_files(tmp_path, FILES)
    settle(tmp_path)
    project = project_at(tmp_path)
    expected = ImportGraph(project).third_party(["src.a"])
    look(project, "src.a")
    os.utime(tmp_path / "src/a.py", ns=(0, YEARS_AGO))
    graph = ImportGraph(project)
    graph.read_code(["src.a"])
    assert graph.third_party(["src.a"]) == expected != ()
