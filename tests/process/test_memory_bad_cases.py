"""A damaged, foreign, unwritable or vanishing memory costs the memory, never the run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from discover_orch.staleness.memory import Memory
from tests.conftest import Orch, Project
from tests.support.permissions import bound_by_permissions
from tests.support.project_builder import Answer, clean_environment, run_orch, write_files
from tests.support.remembered import memory_files, ran, reasons, rows

pytestmark = pytest.mark.slow

PIPELINE = {
    "orch.toml": 'stages = ["ingest", "render"]\ntable_version_rows = 0\n',
    "input.txt": "1\n2\n",
    "src/load.py": """
        STAGE = "ingest"
        def run(conn, *, since: str = ""):
            conn.execute("create table if not exists raw (x)")
            conn.execute("delete from raw")
            conn.executemany("insert into raw values (?)", [(int(one),) for one in open("input.txt")])
            print("loaded")
        """,
    "src/page.py": """
        STAGE = "render"
        def run(conn):
            (n,) = conn.execute("select sum(x) from raw").fetchone()
            with open("page.txt", "w") as file:
                file.write(str(n))
        """,
}
TOOLS = ["load", "page"]


@pytest.fixture
def pipeline(project: Project, orch: Orch) -> Path:
    """Run once, so that there is a memory."""
    root = project(PIPELINE)
    assert orch("run", "--since", "x").code == 0
    return root


def assert_well(answer: Answer, root: Path) -> None:
    """The run's result and exit code are those of a healthy memory; at most one warning, and no traceback."""
    assert answer.code == 0, answer.text
    assert "Traceback" not in answer.out + answer.err, answer.text
    assert answer.err.count("warning:") <= 1, answer.text
    assert answer.out.splitlines()[-1].startswith("2 passed in "), answer.text
    assert rows(root, "select x from raw") == [(1,), (2,)]
    assert (root / "page.txt").read_text() == "3"


def assert_looks(orch: Orch) -> None:
    for words in (
        ("status",),
        ("status", "load"),
        ("history",),
        ("history", "1"),
        ("logs", "load"),
        ("list",),
        ("run", "-n", "--changed"),
        ("run", "-n", "--resume"),
        ("graph",),
        ("check",),
    ):
        answer = orch(*words)
        assert "Traceback" not in answer.out + answer.err, answer.text
        assert answer.code in (0, 2), answer.text  # 2: there is no such run any more
        assert "report" not in answer.err, answer.text


Damage = Callable[[Path], None]


def truncate_at(share: float) -> Damage:
    def damage(path: Path) -> None:
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return damage


def cut_last_byte(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes() or b"\0")
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data)


def write(data: bytes) -> Damage:
    def damage(path: Path) -> None:
        path.write_bytes(data)

    return damage


def make_newer(path: Path) -> None:
    """As a later version may write it: the same outside, with a checksum that holds, and another scheme."""
    text = json.dumps({"kind": path.name, "scheme": 99, "document": {"a": [1]}}).encode() + b"\n"
    path.write_bytes(b"%08x %s" % (zlib.crc32(text), text))


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere/at/all")


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES = {
    "empty": write(b""),
    "a third": truncate_at(0.33),
    "two thirds": truncate_at(0.67),
    "without its last byte": cut_last_byte,
    "a flipped bit": flip,
    "foreign text": write(b"this is somebody else's\n"),
    "foreign bytes": write(bytes(range(256)) * 8),
    "other json": write(b'{"event": "run_started", "kind": 1}\n[[[1]]]\n"x"\nnull\n'),
    "deep json": write(b"[" * 100_000),
    "newer": make_newer,
    "a folder": make_folder,
    "a dangling link": make_dangling,
    "a pipe": make_pipe,
}


@pytest.mark.parametrize("name", DAMAGES)
def test_every_file_of_the_memory_damaged_at_once(name: str, pipeline: Path, orch: Orch) -> None:
    for path in memory_files(pipeline):
        DAMAGES[name](path)
    assert_looks(orch)
    answer = orch("run", "--since", "x")
    assert_well(answer, pipeline)
    assert_looks(orch)


@pytest.mark.parametrize("name", ["empty", "a third", "a flipped bit", "other json", "newer"])
def test_one_damaged_file_costs_what_it_held_and_no_more(
    name: str, pipeline: Path, orch: Orch
) -> None:
    for victim in memory_files(pipeline):
        kept = victim.read_bytes()
        DAMAGES[name](victim)
        told = orch("status", "--json", "--since", "x")
        assert told.code == 0, (victim, told.text)
        stale = [one["name"] for one in told.json["tools"] if one["state"] != "fresh"]
        relative = victim.relative_to(pipeline / ".orch").as_posix()
        if relative in ("tools/src.load", "tools/src.page"):
            assert relative.rpartition(".")[2] in stale, relative
        elif relative == "databases":
            pass  # then nobody knows whether it is the same database
        elif relative != "flow":
            assert stale == [], (relative, told.text)
        if victim.exists():
            victim.write_bytes(kept)
    assert reasons(orch, "--since", "x") == {}


def test_a_result_cut_at_any_length_is_an_older_result_or_none(pipeline: Path, orch: Orch) -> None:
    """Results are appended: of a torn line the one before counts."""
    path = pipeline / ".orch" / "tools" / "src.load"
    assert orch("run", "load", "--since", "y").code == 0
    data = path.read_bytes()
    first = data.index(b"\n") + 1
    assert data.count(b"\n") == 3, "the second result stands behind the first"
    memory = Memory(str(pipeline))
    for length in range(len(data)):
        path.write_bytes(data[:length])
        found = memory.results(["src.load"])
        if length < first:
            assert found == {}, length
        else:
            assert found["src.load"].last.run == "1", length
    for length in (first - 1, first + 1, len(data) - 1):
        path.write_bytes(data[:length])
        answer = orch("run", "load", "--since", "z")
        assert (answer.code, answer.err) == (0, ""), answer.text
        success = memory.results(["src.load"])["src.load"].success
        assert success is not None
        assert success.inputs.other["param:since"] == "z"


@pytest.mark.parametrize("name", ["a file", "a link to nowhere", "a link to a file"])
def test_something_else_stands_where_the_memory_should_be(
    name: str, project: Project, orch: Orch
) -> None:
    root = project(PIPELINE)
    place = root / ".orch"
    if name == "a file":
        place.write_text("mine")
    else:
        place.symlink_to("nowhere/at/all" if name == "a link to nowhere" else "input.txt")
    assert_looks(orch)
    answer = orch("run")
    assert_well(answer, root)
    assert answer.err.count("warning:") == 1, answer.text
    assert "cannot write the history of this run" in answer.err
    assert orch("run", "--changed").code == 0
    assert place.is_symlink() or place.read_text() == "mine"
    assert (root / "input.txt").read_text() == "1\n2\n"


@pytest.mark.parametrize("is_first", [True, False])
def test_a_read_only_memory(is_first: bool, project: Project, orch: Orch) -> None:
    """The database and what the tools write are elsewhere; the project's folder may not be written to."""
    files = {name: text.replace('"page.txt"', '"out/page.txt"') for name, text in PIPELINE.items()}
    root = project({**files, "out/": ""})
    url = "sqlite:///out/data.db"
    if not is_first:
        assert orch("run", "--database", url).code == 0
    closed = [path for path in (root, *root.rglob("*")) if ".orch" in path.parts or path == root]
    modes = {path: path.stat().st_mode for path in closed}
    for path in closed:
        path.chmod(0o555 if path.is_dir() else 0o444)
    prefix = bound_by_permissions()
    try:
        answer = orch("run", "--database", url, prefix=prefix)
        again = orch("run", "--changed", "--database", url, prefix=prefix)
        for words in (("status",), ("history",), ("run", "-n"), ("list",)):
            assert orch(*words, prefix=prefix).code == 0
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
    for one in (answer, again):
        assert one.code == 0, one.text
        assert "Traceback" not in one.err
        assert one.err.count("warning:") <= 1, one.text
    assert answer.err.count("warning:") == 1, answer.text
    assert "2 passed in" in answer.out
    assert rows(root, "select x from raw", "out/data.db") == [(1,), (2,)]


def test_a_run_that_was_not_recorded_is_not_said_to_be_resumable(
    project: Project, orch: Orch
) -> None:
    root = project({"orch.toml": "", "src/a.py": "STAGE = 's'\ndef run(): 1 / 0\n"})
    url = ("--database", "sqlite://")
    assert "  resume with: orch run" in orch("run", *url).out
    closed = [path for path in (root, *root.rglob("*")) if ".orch" in path.parts or path == root]
    modes = {path: path.stat().st_mode for path in closed}
    for path in closed:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        answer = orch("run", *url, prefix=bound_by_permissions())
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
    assert answer.code == 1
    assert "warning: cannot write the history of this run" in answer.err
    assert "resume" not in answer.text
    assert answer.out.splitlines()[-1].startswith("1 failed in ")


def test_an_unreadable_memory(pipeline: Path, orch: Orch) -> None:
    for path in memory_files(pipeline):
        path.chmod(0)
    prefix = bound_by_permissions()
    for words in (("status",), ("history",), ("list",), ("logs", "load")):
        answer = orch(*words, prefix=prefix)
        assert "Traceback" not in answer.err, answer.text
        assert answer.code in (0, 2), answer.text
    answer = orch("run", "--since", "x", prefix=prefix)
    assert_well(answer, pipeline)


def test_a_file_of_the_memory_that_is_somebody_elses_target_is_not_written_through(
    pipeline: Path, orch: Orch
) -> None:
    """A link that leads out of the memory is never followed to write."""
    victim = pipeline / "precious.txt"
    victim.write_text("precious")
    for path in memory_files(pipeline):
        path.unlink()
        path.symlink_to(victim)
    answer = orch("run", "--since", "x")
    assert_well(answer, pipeline)
    assert victim.read_text() == "precious"


FULL = """
    STAGE = "s"
    AFTER = {after}
    def run(conn):
        conn.execute("create table {name} (x)")
        conn.execute("insert into {name} values (1)")
        print("x" * {size})
    """


def test_a_full_disk_in_the_middle_of_a_run(project: Project, tmp_path: Path) -> None:
    """The memory is on a small disk of its own; the database is not."""
    root = project(
        {
            "orch.toml": "",
            "src/a.py": FULL.format(after="()", name="a", size=10),
            "src/b.py": FULL.format(after="'a'", name="b", size=3_000_000),
            "src/c.py": FULL.format(after="'b'", name="c", size=10),
            ".orch/": "",
        }
    )
    program = [sys.executable, "-m", "discover_orch"]
    script = 'mount -t tmpfs -o size=300k tmpfs .orch && "$@" run; code=$?; "$@" history; "$@" status; exit $code'
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    probe = subprocess.run(
        ["unshare", "-Ur", "--mount", "sh", "-c", "mount -t tmpfs tmpfs ."],
        cwd=root / ".orch",
        capture_output=True,
        text=True,
        check=False,
    )
    if probe.returncode:
        pytest.skip(f"user namespaces are not allowed here: {probe.stderr.strip()}")
    done = subprocess.run(
        ["unshare", "-Ur", "--mount", "sh", "-c", script, "sh", *program],
        cwd=root,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    answer = Answer(done.returncode, done.stdout, done.stderr)
    assert answer.code == 0, answer.text[-2000:]
    assert "3 passed in " in answer.out
    assert "Traceback" not in answer.err
    assert answer.err.count("warning:") == 1, answer.err
    assert "No space left on device" in answer.err
    for name in "abc":
        assert rows(root, f"select x from {name}") == [(1,)]


def test_the_clock_may_go_back(pipeline: Path, orch: Orch) -> None:
    """Neither order nor freshness rest on times: the memory comes from a future that has not come yet."""
    future = 4_000_000_000
    for path in (*memory_files(pipeline), pipeline / "input.txt", pipeline / "page.txt"):
        os.utime(path, (future, future))
    events = pipeline / ".orch" / "runs" / "1" / "events.jsonl"
    events.write_text(events.read_text().replace('"started":"20', '"started":"29'))
    assert reasons(orch, "--since", "x") == {}
    assert orch("run", "load", "--since", "x").code == 0
    assert [run["run"] for run in orch("history", "--json").json["runs"]] == ["2", "1"]
    assert reasons(orch, "--since", "x") == {"page": ["table raw was rewritten by load (run 2)"]}
    (pipeline / "input.txt").write_text("1\n3\n")
    os.utime(pipeline / "input.txt", (1, 1))
    assert reasons(orch, "--since", "x")["load"] == ["input.txt changed"]


@pytest.mark.parametrize(
    "name", ["with spaces", "ünïcödé", "with\nlines", "-dash", "quo'te\"s", "[glob]*?", "a" * 200]
)
def test_the_project_may_be_called_anything(name: str, tmp_path: Path) -> None:
    root = tmp_path / name
    root.mkdir()
    write_files(root, PIPELINE)

    def orch(*words: str) -> Answer:
        return run_orch(root, *words)

    assert_well(orch("run"), root)
    assert reasons(orch) == {}
    (root / "input.txt").write_text("2\n1\n")
    assert reasons(orch)["load"] == ["input.txt changed"]


@pytest.mark.parametrize("how", ["mv", "cp -r"])
def test_a_moved_or_copied_project_keeps_its_memory(
    how: str, pipeline: Path, tmp_path: Path
) -> None:
    target = tmp_path / "else where"
    subprocess.run([*how.split(), str(pipeline), str(target)], check=True)

    def orch(*words: str) -> Answer:
        return run_orch(target, *words)

    assert reasons(orch, "--since", "x") == {}
    assert [run["run"] for run in orch("history", "--json").json["runs"]] == ["1"]
    (target / "input.txt").write_text("7\n")
    answer = orch("run", "--changed", "--json", "--since", "x")
    assert ran(answer) == TOOLS
    assert (target / "page.txt").read_text() == "7"


def test_files_with_odd_names_are_remembered(project: Project, orch: Orch) -> None:
    names = ["with space.csv", "ünï.csv", "li\nne.csv", "{curly} \\n.csv", "\udcff.csv"]
    root = project(
        {
            "orch.toml": "",
            "src/a.py": f"""
                import os
                STAGE = "s"
                def run():
                    for name in {names!r}:
                        open(os.path.join("in", name), "rb").read()
                        open(os.path.join("out", name), "wb").close()
                """,
            "out/": "",
            **{f"in/{name}": "1" for name in names},
        }
    )
    assert orch("run").code == 0
    assert reasons(orch) == {}
    for name in names:
        (root / "in" / name).write_text("2")
        (reason,) = reasons(orch)["a"]
        assert reason.endswith(" changed"), reason
        assert "Traceback" not in orch("status").err
        assert "\n" not in orch("status").out.splitlines()[1]
        (root / "in" / name).write_text("1")
        (root / "out" / name).unlink()
        (reason,) = reasons(orch)["a"]
        assert reason.endswith(" is missing"), reason
        (root / "out" / name).touch()
    assert reasons(orch) == {}


def test_partial_output_of_a_tool_that_failed_makes_nothing_fresh(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "orch.toml": "",
            "src/a.py": """
                import os
                STAGE = "s"
                def run():
                    with open("out.txt", "w") as file:
                        file.write("half")
                        file.flush()
                        assert os.path.isdir("good")
                        file.write(" and half")
                """,
        }
    )
    assert orch("run").code == 1
    assert (root / "out.txt").read_text() == "half"
    assert reasons(orch) == {"a": ["failed (run 1)"]}
    (root / "good").mkdir()
    answer = orch("run", "--changed", "--json")
    assert ran(answer) == ["a"]
    assert (root / "out.txt").read_text() == "half and half"
    assert reasons(orch) == {}


def test_the_runs_beyond_the_limit_are_removed_and_ids_go_on(project: Project, orch: Orch) -> None:
    root = project({**PIPELINE, "orch.toml": f"{PIPELINE['orch.toml']}keep_runs = 2\n"})
    for _ in range(4):
        assert orch("run", "-q").code == 0
    assert [run["run"] for run in orch("history", "--json").json["runs"]] == ["4", "3"]
    shutil.rmtree(root / ".orch" / "runs")
    assert reasons(orch) == {}
    assert orch("run", "load", "-q").code == 0
    assert reasons(orch) == {"page": ["table raw was rewritten by load (run 5)"]}


def test_a_memory_that_is_removed_while_nobody_runs_is_only_lost(
    pipeline: Path, orch: Orch
) -> None:
    shutil.rmtree(pipeline / ".orch")
    # The database has its own memory of the tool that writes to it.
    assert reasons(orch) == {"load": ["--since: x → default"], "page": ["never ran"]}
    assert_well(orch("run", "--changed"), pipeline)
    assert reasons(orch) == {}
