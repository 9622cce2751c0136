"""The journal: every line that was written can be read, whatever happened; ids grow; nothing ever raises."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.state.journal import (
    EVENTS,
    LOGS,
    RUNS,
    Journal,
    begin_run,
    find_log,
    find_runs,
    prune,
    read_log,
    read_record,
    read_summary,
)
from discover_orch.state.sealed_files import FOLDER
from tests.support.journals import (
    finished,
    started,
    tool_finished,
    tool_started,
    whole_run,
)
from tests.support.permissions import run_bound


def events_file(root: Path, run: str) -> Path:
    return root / FOLDER / RUNS / run / EVENTS


def log_text(root: Path, run: str, module: str) -> bytes:
    path = find_log(str(root), run, module)
    assert path is not None
    return b"".join(read_log(path))


def test_an_id_is_above_what_anything_else_remembers(tmp_path: Path) -> None:
    assert begin_run(str(tmp_path), 41).run == "42"
    assert begin_run(str(tmp_path), 7).run == "43"


def test_ids_go_on_after_pruning(tmp_path: Path) -> None:
    for _ in range(5):
        whole_run(tmp_path)
    prune(str(tmp_path), 2)
    assert find_runs(str(tmp_path)) == ["5", "4"]
    assert whole_run(tmp_path) == "6"


def test_a_name_that_is_taken_by_something_else_is_passed_over(tmp_path: Path) -> None:
    whole_run(tmp_path)
    runs = tmp_path / FOLDER / RUNS
    (runs / "2").write_text("a file")
    (runs / "3").symlink_to(tmp_path)
    assert begin_run(str(tmp_path)).run == "4"
    assert find_runs(str(tmp_path)) == ["4", "1"]


def test_what_is_no_run_is_not_found(tmp_path: Path) -> None:
    whole_run(tmp_path)
    for name in ("0", "007", "-1", "1.5", "٣", "x", "2²"):
        (tmp_path / FOLDER / RUNS / name).mkdir()
    assert find_runs(str(tmp_path)) == ["1"]


def test_two_writers_never_share_a_run(tmp_path: Path) -> None:
    program = (
        "import sys; from discover_orch.state.journal import begin_run\n"
        "input()\nprint(*[begin_run(sys.argv[1]).run for _ in range(50)])"
    )
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    runs = [run for writer in writers for run in writer.communicate()[0].split()]
    assert sorted(map(int, runs)) == list(range(1, 101))


def test_what_is_written_is_there_at_once(tmp_path: Path) -> None:
    journal = begin_run(str(tmp_path))
    journal.write({"event": "x", "text": "a\nb\udcff"})
    journal.log("src.fetch", "stdout", "half a line")
    line = events_file(tmp_path, "1").read_bytes()
    assert line.endswith(b"\n")
    assert json.loads(line) == {"event": "x", "text": "a\nb\udcff"}
    assert log_text(tmp_path, "1", "src.fetch") == b"half a line"
    journal.close()


def test_a_log_has_both_streams_as_they_came(tmp_path: Path) -> None:
    journal = begin_run(str(tmp_path))
    journal.log("src.fetch", "stdout", "one\n")
    journal.log("src.fetch", "stderr", "two\n")
    journal.log("src.parse", "stdout", "other\n")
    journal.write(tool_finished("fetch"))
    journal.log("src.fetch", "stdout", "late\n")
    journal.close()
    assert log_text(tmp_path, "1", "src.fetch") == b"one\ntwo\nlate\n"
    assert log_text(tmp_path, "1", "src.parse") == b"other\n"


def test_any_text_can_be_logged(tmp_path: Path) -> None:
    journal = begin_run(str(tmp_path))
    journal.log("src.fetch", "stdout", b"\xff\x00\xc3\n".decode("utf-8", "surrogateescape"))
    journal.log("src.fetch", "stdout", "\ud800\n")
    journal.close()
    assert journal.problem is None
    assert log_text(tmp_path, "1", "src.fetch") == b"\xff\x00\xc3\n\\ud800\n"


def test_only_the_logs_of_running_tools_are_open(tmp_path: Path) -> None:
    journal = begin_run(str(tmp_path))
    before = os.listdir("/dev/fd")
    for number in range(50):
        journal.log(f"src.m{number}", "stdout", "x\n")
        journal.write(tool_finished(f"m{number}"))
    assert len(os.listdir("/dev/fd")) == len(before)
    journal.log("src.fetch", "stdout", "x\n")
    journal.close()
    assert len(os.listdir("/dev/fd")) == len(before) - 1


def test_a_journal_that_was_cut_anywhere_tells_what_its_whole_lines_do(tmp_path: Path) -> None:
    whole_run(tmp_path, logs={"fetch": "x"})
    path = events_file(tmp_path, "1")
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        record = read_record(str(tmp_path), "1")
        whole = data[:length].count(b"\n")
        assert (record is None) == (whole == 0)
        assert read_summary(str(tmp_path), "1") == record
        if record:
            words = ["not_run", "running", "passed", "passed", "passed", "passed"]
            assert record.tools[0].status == words[whole - 1]
            assert record.status == "running"


@given(lines=st.lists(st.binary(max_size=40) | st.just(json.dumps(started("9")).encode())))
def test_any_bytes_between_the_lines_are_passed_over(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    root = tmp_path_factory.mktemp("any")
    journal = begin_run(str(root))
    good = [started("1"), tool_started("fetch"), tool_finished("fetch"), finished()]
    data = [json.dumps(one).encode() for one in good]
    for number, junk in enumerate(lines):
        data.insert(2 + 2 * number, junk.replace(b"\n", b""))
    events_file(root, "1").write_bytes(b"\n".join(data) + b"\n")
    record = read_record(str(root), "1")
    assert record is not None
    assert (record.run, record.tools[0].status) == ("1", "passed")
    read_summary(str(root), "1")
    journal.close()


def test_what_is_no_journal_is_no_run(tmp_path: Path) -> None:
    whole_run(tmp_path)
    path = events_file(tmp_path, "1")
    for make in (path.mkdir, lambda: os.mkfifo(path), lambda: path.write_bytes(b"")):
        path.unlink() if not path.is_dir() else path.rmdir()
        make()
        assert read_record(str(tmp_path), "1") is None
        assert read_summary(str(tmp_path), "1") is None
    path.unlink()
    assert read_record(str(tmp_path), "1") is None
    assert read_record(str(tmp_path), "2") is None


def test_a_journal_that_may_not_be_read_is_no_run(tmp_path: Path) -> None:
    whole_run(tmp_path)
    os.chmod(events_file(tmp_path, "1"), 0)
    assert run_bound(lambda: str(read_record(str(tmp_path), "1"))) == "None"
    assert run_bound(lambda: str(read_summary(str(tmp_path), "1"))) == "None"


def check_silent(journal: Journal) -> None:
    """It has a problem, and what is written then is dropped."""
    for _ in range(2):
        journal.write(tool_started("fetch"))
        journal.log("src.fetch", "stdout", "text\n")
    assert journal.problem is not None
    assert (journal.problem.code, journal.problem.severity) == ("unrecorded", "warning")
    assert journal.problem.message.startswith("cannot write the history of this run: ")
    journal.close()


def test_a_full_disk_costs_the_memory_alone_and_leaves_whole_lines(tmp_path: Path) -> None:
    def fill() -> str:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        journal = begin_run(str(tmp_path))
        journal.write(started("1"))
        for _ in range(100):
            journal.write(tool_finished("fetch"))
        check_silent(journal)
        assert journal.problem is not None
        return journal.problem.message

    assert "too large" in run_bound(fill)
    record = read_record(str(tmp_path), "1")
    assert record is not None
    assert record.tools[0].status == "passed"


def test_a_document_that_is_no_json_costs_the_memory_alone(tmp_path: Path) -> None:
    journal = begin_run(str(tmp_path))
    journal.write({"event": "x", "what": object()})
    check_silent(journal)


def test_a_writer_that_is_killed_leaves_every_whole_line(tmp_path: Path) -> None:
    program = (
        "import sys; from discover_orch.state.journal import begin_run\n"
        "journal = begin_run(sys.argv[1])\n"
        "for n in range(1000000):\n"
        "    journal.write({'event': 'x', 'n': n, 'fill': 'x' * (n % 997)})\n"
        "    print(n, flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if line == "300\n":
                break
        writer.kill()
        told = [line for line in writer.stdout.read().splitlines(keepends=True) if line[-1] == "\n"]
    last = int(told[-1]) if told else 300
    lines = events_file(tmp_path, "1").read_bytes().split(b"\n")
    numbers = [json.loads(line)["n"] for line in lines[:-1]]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > last


def test_pruning_keeps_the_newest_and_the_current_one(tmp_path: Path) -> None:
    for _ in range(6):
        whole_run(tmp_path, logs={"fetch": "x", "parse": "y"})
    prune(str(tmp_path), 10)
    assert len(find_runs(str(tmp_path))) == 6
    prune(str(tmp_path), 2, "3")
    assert find_runs(str(tmp_path)) == ["6", "5", "3"]
    prune(str(tmp_path), 0, "6")
    assert os.listdir(tmp_path / FOLDER / RUNS) == ["6"]


def test_pruning_follows_no_link_and_leaves_what_is_no_run(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("mine")
    root = tmp_path / "project"
    root.mkdir()
    for _ in range(4):
        whole_run(root, logs={"fetch": "x"})
    runs = root / FOLDER / RUNS
    (runs / "notes").mkdir()
    (runs / "9").symlink_to(outside)
    shutil.rmtree(runs / "1" / LOGS)
    (runs / "1" / LOGS).symlink_to(outside)
    (runs / "2" / "link").symlink_to(outside / "kept")
    (runs / "3" / "mine").mkdir()
    (runs / "3" / "mine" / "kept").write_text("mine")
    prune(str(root), 1)
    assert sorted(os.listdir(runs)) == ["3", "4", "9", "notes"]
    assert os.listdir(runs / "3") == ["mine"]
    assert (outside / "kept").read_text() == "mine"


def test_a_thousand_runs_are_found_and_pruned(tmp_path: Path) -> None:
    for number in range(1, 1001):
        (tmp_path / FOLDER / RUNS / str(number)).mkdir(parents=True)
    assert find_runs(str(tmp_path))[:2] == ["1000", "999"]
    prune(str(tmp_path), 100)
    assert len(find_runs(str(tmp_path))) == 100
    assert begin_run(str(tmp_path)).run == "1001"
