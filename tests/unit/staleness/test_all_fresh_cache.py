"""That all tools are fresh, kept for the next command: it may be given up too easily, and is never kept too long."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discover_orch import __version__
from discover_orch.discovery.listing_cache import is_unchanged
from discover_orch.discovery.tree import RACY_NS
from discover_orch.execution.events import RunFinished, RunStarted, ToolFinished, ToolStarted
from discover_orch.execution.recorder import Recorder
from discover_orch.model.observation import Observation
from discover_orch.planning import project_reader, project_view
from discover_orch.planning.param_versions import default_versions
from discover_orch.staleness import all_fresh_cache
from discover_orch.staleness.all_fresh_cache import (
    CacheKey,
    delete_all_fresh,
    read_all_fresh,
    write_all_fresh,
)
from discover_orch.staleness.current import CurrentState
from discover_orch.staleness.memory import Memory
from discover_orch.staleness.status import Status
from discover_orch.state.store import open_index, read_sealed, write_sealed
from tests.support.permissions import run_bound
from tests.support.project_builder import write_files
from tests.support.recorded import record, remaining, seen, stale, view_of
from tests.support.running import wait_until

NO_VARIABLES: Mapping[str, str] = {}
#: So late that nothing counts as changed just before.
LATER = 1 << 62
FETCH = """\
STAGE = "one"
ORCH = {"inputs": ["data/declared.csv"], "outputs": ["data/out.csv"]}
import alpha
from lib.rows import rows
def run(conn, *, limit: int = 3): pass
"""
REPORT = 'STAGE = "two"\ndef run(conn): pass\n'
FILES = {
    "orch.toml": "stages = ['one', 'two']\n",
    "src/fetch.py": FETCH,
    "src/report.py": REPORT,
    "lib/rows.py": "def rows(): return 1\n",
    "data/in.csv": "1\n",
    "data/declared.csv": "1\n",
    "data/out.csv": "1\n",
    "data/many/a.csv": "",
    "report.txt": "1\n",
}
STAGES = [("one", ["fetch"]), ("two", ["report"])]


def make_database(path: Path, rows: int = 1) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS raw(a)")
        for number in range(rows):
            conn.execute("INSERT INTO raw VALUES (?)", (number,))
            conn.commit()


def keep(root: Path, environ: Mapping[str, str] = NO_VARIABLES, *, since: int = LATER) -> None:
    """As a command does that has compared all and found nothing stale."""
    view = project_reader.read_project(str(root), None, environ)
    memory = Memory(str(root))
    present = CurrentState(view.project, view.registry, memory, memory.results(view.registry.order))
    Status(present, lambda tool: default_versions(tool, str(root))).freshness()
    cache_key = present.cache_key()
    if cache_key is not None:
        write_all_fresh(
            str(root), view.key, [("one", ["fetch"]), ("two", ["report"])], cache_key, since
        )


def find(
    root: Path, environ: Mapping[str, str] = NO_VARIABLES, folder: str | None = None
) -> object:
    return read_all_fresh(str(root), folder, environ)


def is_kept(root: Path, environ: Mapping[str, str] = NO_VARIABLES) -> bool:
    keep(root, environ)
    return find(root, environ) is not None


def settle(root: Path) -> None:
    """The index does not trust files that have just been made, so it takes some looks."""
    wait_until(lambda: is_kept(root), "a verdict")


def look_until_known(root: Path, environ: Mapping[str, str] = NO_VARIABLES) -> None:
    """As `orch list` does: until the index knows the project as it stands."""

    def is_known() -> bool:
        view = project_reader.read_project(str(root), None, environ)
        return is_unchanged(str(root), open_index(str(root), __version__), view.key)

    wait_until(is_known, "an index")


def ran(root: Path, **more: object) -> None:
    """A run of all, in which everything passes."""
    reads = Observation(missed=("data/optional.csv",), third_party=("alpha",), database="data.db")
    sight = seen(root, read=("data/in.csv",), listed=("data/many",))
    fetch = {name: getattr(sight, name) for name in ("read", "listed")}
    fetch |= {name: getattr(reads, name) for name in ("missed", "third_party", "database")}
    sights = {
        "fetch": Observation(tables_written=("raw",), **fetch),
        "report": Observation(tables_read=("raw",), written=("report.txt",), database="data.db"),
    }
    assert record(root, sights, **more) == []  # type: ignore[arg-type]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where packages are installed: `alpha` is."""
    folder = tmp_path / "site"
    write_files(folder, {"alpha/__init__.py": "", "alpha-1.0.dist-info/top_level.txt": "alpha\n"})
    path = [str(tmp_path / "first"), str(folder), *sys.path]  # the first is not there
    monkeypatch.setattr(sys, "path", path)
    return folder


@pytest.fixture
def root(tmp_path: Path, site: Path) -> Path:
    """A project in which all is fresh, and known to be."""
    root = tmp_path / "project"
    write_files(root, FILES)
    (root / "latest").symlink_to("data")
    make_database(root / "data.db")
    ran(root)
    assert stale(root) == {}
    settle(root)
    return root


# What is kept is found.


def test_where_nothing_has_changed_the_stages_are_given_as_they_were_kept(root: Path) -> None:
    assert find(root) == STAGES
    assert find(root / "src") == STAGES
    assert find(root / "src", folder="..") == STAGES


def test_looking_and_what_no_tool_depends_on_leave_it(root: Path) -> None:
    view_of(root)
    assert stale(root) == {}
    write_files(root, {"notes.txt": "", "src/notes.txt": "", "data/other.csv": ""})
    (root / "data/many/a.csv").write_text("its name counts alone")
    assert find(root) == STAGES


def test_it_is_dropped_when_it_is_to_be(root: Path) -> None:
    delete_all_fresh(str(root))
    assert find(root) is None
    delete_all_fresh(str(root))  # there is none any more


def test_what_lies_outside_of_the_project_counts_by_its_absolute_path(
    root: Path, tmp_path: Path
) -> None:
    outside, absent = tmp_path / "outside.csv", tmp_path / "absent.csv"
    outside.write_text("1")
    cache_key = CacheKey(paths=frozenset((str(outside), str(absent))))

    def keep_both() -> object:
        write_all_fresh(str(root), view_of(root).key, [("one", ["fetch"])], cache_key, LATER)
        return find(root)

    assert keep_both() == [("one", ["fetch"])]
    outside.write_text("22")
    assert find(root) is None
    assert keep_both() is not None
    absent.touch()
    assert find(root) is None


# What voids it.


def write(path: str, text: str = "9\n") -> Callable[[Path], object]:
    return lambda root: write_files(root, {path: text})


def unlink(path: str) -> Callable[[Path], object]:
    return lambda root: (root / path).unlink()


def swap(path: str) -> Callable[[Path], object]:
    """Another file of the same text, size and time."""

    def act(root: Path) -> None:
        shutil.copy2(root / path, root / "swapped")
        os.replace(root / "swapped", root / path)

    return act


def give_back_its_times(root: Path) -> None:
    path = root / "data/in.csv"
    before = path.stat()
    path.write_text("2\n")  # of the same size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def swap_database(root: Path) -> None:
    make_database(root / "other.db", 3)
    os.replace(root / "other.db", root / "data.db")


def put_back_an_older_database(root: Path) -> None:
    """In the same file, with fewer changes."""
    make_database(root / "older.db", 0)
    (root / "data.db").write_bytes((root / "older.db").read_bytes())


def upgrade(root: Path) -> None:
    site = root.parent / "site"
    (site / "alpha-1.0.dist-info").rename(site / "alpha-2.0.dist-info")


def uninstall(root: Path) -> None:
    shutil.rmtree(root.parent / "site" / "alpha-1.0.dist-info")


def install_before(root: Path) -> None:
    """In a folder of `sys.path` that was not there."""
    (root.parent / "first" / "alpha-2.0.dist-info").mkdir(parents=True)


MAKES_STALE: dict[str, Callable[[Path], object]] = {
    "a file that was read": write("data/in.csv"),
    "a file that was read is gone": unlink("data/in.csv"),
    "a declared file": write("data/declared.csv"),
    "a declared file is gone": unlink("data/declared.csv"),
    "a declared output is gone": unlink("data/out.csv"),
    "an output is gone": unlink("report.txt"),
    "a name in a folder": write("data/many/b.csv"),
    "a name less in a folder": unlink("data/many/a.csv"),
    "a folder is gone": lambda root: shutil.rmtree(root / "data/many"),
    "a file that was missed": write("data/optional.csv"),
    "a link in the place of one that was missed": lambda root: (
        root / "data/optional.csv"
    ).symlink_to("in.csv"),
    "the code of a tool": write("src/report.py", REPORT + "X = 1\n"),
    "the code of a helper": write("lib/rows.py", "def rows(): return 2\n"),
    "a helper is gone": unlink("lib/rows.py"),
    "a module that comes before another": write("alpha.py", ""),
    "a package in the place of a module": write("lib/rows/__init__.py", ""),
    "a new tool": write("src/more.py", 'STAGE = "one"\ndef run(): pass\n'),
    "a parameter in the configuration": write(
        "orch.toml", FILES["orch.toml"] + "params = { limit = 2 }\n"
    ),
    "another database": write(
        "orch.toml", FILES["orch.toml"] + 'database = "sqlite:///other.db"\n'
    ),
    "an orchconf.py": write("orchconf.py", "def get_connection(): return None\n"),
    "the database is gone": unlink("data.db"),
    "the database was swapped": swap_database,
    "the database was put back from a copy": put_back_an_older_database,
    "a package has another version": upgrade,
    "a package is gone": uninstall,
    "a package stands before another": install_before,
    "what is remembered of a tool": unlink(".orch/tools/src.fetch"),
    "what is remembered of databases": unlink(".orch/databases"),
    "all that is remembered": lambda root: shutil.rmtree(root / ".orch"),
}


@pytest.mark.parametrize("what", MAKES_STALE)
def test_it_is_void_after_whatever_makes_a_tool_stale(root: Path, what: str) -> None:
    MAKES_STALE[what](root)
    assert find(root) is None
    assert stale(root) != {}
    look_until_known(root)
    assert find(root) is None


MAY_MAKE_STALE: dict[str, Callable[[Path], object]] = {
    "a file that was read, of the same size and time": give_back_its_times,
    "the same text in another file": swap("data/in.csv"),
    "a comment": write("src/report.py", REPORT + "# a comment\n"),
    "another order of stages": write("orch.toml", "stages = ['two', 'one']\n"),
    "a nearer configuration": lambda root: write_files(
        root, {"orch.toml": "", "pyproject.toml": "[tool.orch]\n"}
    ),
    "the journal is gone": lambda root: shutil.rmtree(root / ".orch/runs"),
    "the index is gone": unlink(".orch/index"),
    "what is known of the flow is gone": unlink(".orch/flow"),
    "an output was written anew": write("report.txt"),
}


@pytest.mark.parametrize("what", MAY_MAKE_STALE)
def test_it_is_given_up_where_a_comparison_is_needed_to_know(root: Path, what: str) -> None:
    MAY_MAKE_STALE[what](root)
    assert find(root) is None


@pytest.mark.parametrize(
    "environ",
    [{"ORCH_PARAM_LIMIT": "1"}, {"DATABASE_URL": "sqlite:///o.db"}, {"ORCH_PACKAGES": "lib"}],
)
def test_it_holds_for_the_environment_that_it_was_kept_with_alone(
    root: Path, environ: Mapping[str, str]
) -> None:
    assert find(root, environ) is None
    assert find(root, {"OTHER": "1"}) == STAGES
    look_until_known(root, environ)
    assert find(root, environ) is None
    wait_until(lambda: is_kept(root, environ), "a verdict of this environment")
    assert find(root) is None


def test_it_holds_for_the_place_of_the_project_alone(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "copy", symlinks=True)
    assert find(tmp_path / "copy") is None
    root.rename(tmp_path / "moved")
    assert find(tmp_path / "moved") is None


@pytest.mark.parametrize("what", ["orch", "Python", "a micro version", "the path", "the order"])
def test_it_holds_for_the_interpreter_that_it_was_kept_by_alone(
    root: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    major, minor, micro, *rest = sys.version_info
    if what == "orch":
        monkeypatch.setattr(all_fresh_cache, "__version__", "0.0.0")
    elif what == "Python":
        monkeypatch.setattr(sys, "version_info", (major, minor + 1, micro, *rest))
    elif what == "a micro version":
        monkeypatch.setattr(sys, "version_info", (major, minor, micro + 1, *rest))
    elif what == "the path":
        monkeypatch.setattr(sys, "path", [*sys.path, "/nowhere"])
    else:
        monkeypatch.setattr(sys, "path", sys.path[::-1])
    assert find(root) is None
    monkeypatch.undo()


@pytest.mark.parametrize("status", ["passed", "failed"])
def test_a_run_voids_it_however_it_ends(root: Path, status: str) -> None:
    record(root, {}, "report", ends={"report": status})  # type: ignore[dict-item]
    assert find(root) is None


# Runs that go on.


@pytest.fixture
def run(root: Path) -> Iterator[Recorder]:
    """One of all tools that has begun, and none of its tools has."""
    view = view_of(root)
    recorder = Recorder(project_view.plan_targets(view, []), view.registry, view.project)
    recorder.record(RunStarted(run=recorder.run, targets=(), tools=("src.fetch", "src.report")))
    yield recorder
    recorder.close()


def test_it_is_not_kept_while_a_run_is_going_on_that_may_make_anything_stale(
    root: Path, run: Recorder
) -> None:
    assert find(root) is None  # void as soon as the run has begun
    assert stale(root) == {}  # no turn has come yet
    keep(root)
    assert find(root) is None
    run.record(ToolStarted(module="src.fetch"))
    run.record(ToolFinished(module="src.fetch", status="failed", seen=Observation()))
    run.record(RunFinished(status="failed", duration=1.0))
    assert stale(root) != {}
    assert find(root) is None


def test_it_is_not_kept_where_a_run_ended_since_all_was_compared(root: Path, run: Recorder) -> None:
    delete_all_fresh(str(root))
    since = wait_past_all(root)
    run.record(RunFinished(status="passed", duration=1.0))
    keep(root, since=since)
    assert not (root / ".orch/all-fresh").exists()
    keep(root)  # nothing else was in its way
    assert (root / ".orch/all-fresh").exists()


def wait_past_all(root: Path) -> int:
    """A moment by which nothing that counts had just changed, and which is over."""
    places = [root, *root.rglob("*"), *map(Path, sys.path)]
    moment = max(path.stat().st_ctime_ns for path in places if path.exists()) + RACY_NS
    tick = root.parent / "tick"

    def is_past() -> bool:
        tick.write_text("")
        return tick.stat().st_ctime_ns > moment

    wait_until(is_past, "another tick of the clock of the files")
    return moment


# What is not kept at all.


def test_it_is_not_kept_where_something_may_change_again_unseen(root: Path) -> None:
    delete_all_fresh(str(root))
    (root / "data/in.csv").chmod(0o600)  # it is the latest that has changed in any way
    changed = (root / "data/in.csv").stat().st_ctime_ns
    keep(root, since=changed + RACY_NS - 1)
    assert not (root / ".orch/all-fresh").exists()
    keep(root, since=changed + RACY_NS)
    assert (root / ".orch/all-fresh").exists()


@pytest.mark.parametrize("gone", ["data/in.csv", "data/many", "report.txt", "lib/rows.py"])
def test_it_is_not_kept_where_something_went_since_all_was_compared(root: Path, gone: str) -> None:
    """Between the look and the verdict: what is not there has no time that would tell."""
    view = view_of(root)
    memory = Memory(str(root))
    present = CurrentState(view.project, view.registry, memory, memory.results(view.registry.order))
    Status(present, lambda tool: default_versions(tool, str(root))).freshness()
    cache_key = present.cache_key()
    assert cache_key is not None
    delete_all_fresh(str(root))
    since = wait_past_all(root)
    path = root / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_all_fresh(str(root), view.key, [("one", ["fetch"])], cache_key, since)
    assert find(root) is None


def test_where_it_cannot_be_written_there_is_none(root: Path) -> None:
    delete_all_fresh(str(root))
    (root / ".orch").chmod(0o555)
    said = run_bound(lambda: repr(is_kept(root)))
    (root / ".orch").chmod(0o755)
    assert said == "False"


# What names of files alone do not tell.


def declares(root: Path, **orch: object) -> None:
    """`report` does, and all has run since."""
    text = f"STAGE = 'two'\nORCH = {orch!r}\ndef run(conn): pass\n"
    (root / "src/report.py").write_text(text)
    ran(root)
    assert stale(root) == {}


@pytest.mark.parametrize("pattern", ["tree", "tree/", "tree/**/*.csv", "tr[e]e"])
def test_a_file_deep_in_a_folder_that_is_declared_is_never_missed(root: Path, pattern: str) -> None:
    write_files(root, {"tree/deep/a.csv": ""})
    declares(root, inputs=[pattern])
    look_until_known(root)
    keep(root)
    write_files(root, {"tree/deep/b.csv": ""})
    assert stale(root) != {}
    assert find(root) is None


def test_a_glob_of_outputs_that_matches_nothing_any_more_is_never_missed(root: Path) -> None:
    write_files(root, {"out/a.csv": ""})
    declares(root, outputs=["out/*.csv"])
    look_until_known(root)
    keep(root)
    (root / "out/a.csv").unlink()
    assert stale(root) != {}
    assert find(root) is None


def test_a_link_that_was_written_and_leads_nowhere_is_missed_when_it_goes(root: Path) -> None:
    (root / "dangling").symlink_to("nowhere")
    declares(root, outputs=["dangling"])
    settle(root)
    (root / "dangling").unlink()
    assert stale(root) != {}
    assert find(root) is None


def test_a_database_that_comes_after_all_was_accepted_without_one_is_seen(
    tmp_path: Path, site: Path
) -> None:
    root = tmp_path / "project"
    write_files(root, FILES)
    ran(root)
    (root / ".orch/databases").unlink()
    accept(root)
    assert stale(root) == {}
    settle(root)
    make_database(root / "data.db")
    assert stale(root) != {}
    assert find(root) is None


def accept(root: Path) -> None:
    assert remaining(root).accept(project_view.plan_targets(view_of(root), []))


# Damage.


def put_a_pipe(path: Path) -> None:
    """To which nobody writes."""
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text(""),
        lambda path: path.write_text("x"),
        lambda path: path.write_bytes(path.read_bytes()[:-2]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"fetch", b"fetsh")),
        lambda path: path.unlink() or path.mkdir(),
        put_a_pipe,
    ],
)
def test_a_damaged_file_is_no_verdict(root: Path, damage: Callable[[Path], object]) -> None:
    damage(root / ".orch/all-fresh")
    assert find(root) is None


def test_a_document_of_another_shape_or_kind_is_none(root: Path) -> None:
    path = str(root / ".orch/all-fresh")
    document = read_sealed(path, "all-fresh 4", dict[str, object])
    assert document is not None
    others: list[dict[str, object]] = [
        {"made_with": None},
        {"stamps": []},
        {"absent": {}},
        {"stages": "fetch"},
    ]
    for changes in others:
        write_sealed(path, "all-fresh 4", {**document, **changes})
        assert find(root) is None
    write_sealed(path, "tool 2", document)
    assert find(root) is None
    write_sealed(path, "all-fresh 4", document)
    assert find(root) is not None


# The law.

DOINGS = st.lists(
    st.sampled_from(
        [*MAKES_STALE, *MAY_MAKE_STALE, "look", "keep", "keep where all is fresh", "run"]
    ),
    max_size=6,
)


@settings(max_examples=15, deadline=None)
@given(doings=DOINGS)
def test_whatever_happens_it_never_says_that_all_is_fresh_where_a_tool_is_stale(
    doings: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("law")
    root = base / "project"
    write_files(root, FILES)
    write_files(base / "site", {"alpha-1.0.dist-info/top_level.txt": "alpha\n"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(base / "first"), str(base / "site"), *sys.path])
        make_database(root / "data.db")
        ran(root)
        settle(root)
        for doing in doings:
            if doing == "look":
                look_until_known(root)
            elif doing == "run":
                write_files(root, {"data/in.csv": "5\n", "data/many/a.csv": ""})
                record(root)
            elif doing.startswith("keep"):
                if stale(root) == {}:
                    keep(root)
            else:
                try:
                    {**MAKES_STALE, **MAY_MAKE_STALE}[doing](root)
                except OSError:  # what it is about is gone by now
                    continue
            if find(root) is not None:
                assert stale(root) == {}
