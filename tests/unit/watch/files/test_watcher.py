"""The door to file events, with real files and the installed watchdog (6 and 7 must both pass).

Each test waits for a hint that matches, and shows what came when none does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from discover_orch.watch.files import watcher as watcher_module
from discover_orch.watch.files.debounce import FileEvent, Kind
from discover_orch.watch.files.filesystems import read_limits, watched_inodes
from discover_orch.watch.files.watcher import CALM, CALM_MOST, POLL, POLL_MOST, Watcher
from tests.support.permissions import run_bound
from tests.support.running import wait_until

DEADLINE = 8.0
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="about inotify")


class Listener:
    """A watcher on a project, and all that it has said so far."""

    def __init__(self, root: Path, *, must_poll: bool = False) -> None:
        self.root = root
        self.bell = threading.Event()
        self.rings = 0
        self.heard: list[FileEvent] = []
        self.watcher = Watcher(str(root), self.ring, must_poll=must_poll)

    def ring(self) -> None:
        self.rings += 1
        self.bell.set()

    def wait_for(self, is_it: Callable[[FileEvent], bool], what: str = "a hint") -> FileEvent:
        deadline = time.monotonic() + DEADLINE
        while True:
            taken = self.watcher.take()
            self.heard += taken
            for hint in taken:
                if is_it(hint):
                    return hint
            if not self.bell.wait(max(0.0, deadline - time.monotonic())):
                raise AssertionError(f"{what} did not come, but at last {self.heard[-30:]}")
            self.bell.clear()

    def wait_for_kind(self, kind: Kind, path: str = "") -> FileEvent:
        return self.wait_for(lambda hint: (hint.kind, hint.path) == (kind, path), f"{kind} {path}")

    def save(self, path: str) -> FileEvent:
        """Write a file, and wait until that is told."""
        (self.root / path).write_text("x = 1\n")
        return self.wait_for_kind("written", path)

    def check_until(self, is_so: Callable[[], bool], what: str) -> None:
        """Idle ticks until something is so."""

        def tick() -> bool:
            self.watcher.check()
            return is_so()

        wait_until(tick, what)

    def has_watch(self, path: str) -> bool:
        return (self.root / path).stat().st_ino in watched_inodes()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    (tmp_path / "project" / "src" / "sub").mkdir(parents=True)
    made = Listener(tmp_path / "project")
    yield made
    made.watcher.close()


def test_a_save_is_told_as_written_with_its_time(listener: Listener) -> None:
    listener.watcher.watch(["src"], [""])
    before = time.monotonic()
    hint = listener.save("src/sub/a.py")
    assert before <= hint.at <= time.monotonic()
    assert not hint.is_folder
    listener.save("orch.toml")


def test_a_save_by_rename_is_told_as_moved_onto_the_name(listener: Listener) -> None:
    listener.watcher.watch(["src"], [])
    (listener.root / "src/a.tmp").write_text("x = 1\n")
    os.replace(listener.root / "src/a.tmp", listener.root / "src/a.py")
    listener.wait_for_kind("moved", "src/a.py")
    assert ("deleted", "src/a.tmp") in [(hint.kind, hint.path) for hint in listener.heard]


def test_a_deletion_and_a_new_folder_are_told(listener: Listener) -> None:
    listener.watcher.watch(["src"], [])
    listener.save("src/a.py")
    (listener.root / "src/a.py").unlink()
    listener.wait_for_kind("deleted", "src/a.py")
    (listener.root / "src/new").mkdir()
    assert listener.wait_for_kind("created", "src/new").is_folder
    listener.save("src/new/b.py")


def test_a_flat_folder_does_not_tell_of_what_is_below(listener: Listener) -> None:
    listener.watcher.watch([], ["src"])
    (listener.root / "src/sub/a.py").write_text("")
    listener.save("src/b.py")
    assert not [hint for hint in listener.heard if hint.path.startswith("src/sub")]


def test_reading_rings_nothing(listener: Listener) -> None:
    for number in range(20):
        (listener.root / f"src/sub/{number}.py").write_text("x = 1\n")
    listener.watcher.watch(["src"], [""])
    for _ in range(100):
        for path in (listener.root / "src/sub").iterdir():
            path.read_bytes()
    os.chmod(listener.root / "src/sub/0.py", 0o600)
    listener.save("src/marker.py")
    assert {hint.path for hint in listener.heard} == {"src/marker.py"}


def test_noise_rings_nothing(listener: Listener) -> None:
    for name in (".git", ".orch", "__pycache__", "node_modules/x", ".venv/lib"):
        (listener.root / "src" / name).mkdir(parents=True)
    listener.watcher.watch([""], [])
    for name in (".git/index", ".orch/log", "__pycache__/a.pyc", "node_modules/x/y", ".venv/lib/z.py",
                 "a.py~", ".a.py.swp", ".#a.py", "b.pyc"):  # fmt: skip
        (listener.root / "src" / name).write_text("x")
    shutil.rmtree(listener.root / "src/__pycache__")
    listener.save("src/marker.py")
    assert {hint.path for hint in listener.heard} == {"src/marker.py"}


def test_a_folder_that_was_asked_for_is_told_of_even_inside_of_noise(listener: Listener) -> None:
    (listener.root / ".venv/inputs").mkdir(parents=True)
    listener.watcher.watch([""], [".venv/inputs"])
    listener.save(".venv/inputs/data.csv")


def test_folders_outside_the_root_have_relative_names(listener: Listener) -> None:
    (listener.root.parent / "beside").mkdir()
    listener.watcher.watch(["../beside"], [])
    listener.save("../beside/a.py")


def test_a_file_moved_out_does_not_hold_what_follows(listener: Listener) -> None:
    """watchdog would wait half a second for the other half of the rename."""
    listener.watcher.watch(["src"], [])
    for number in range(5):
        listener.save(f"src/{number}.py")
        started = time.monotonic()
        os.rename(listener.root / f"src/{number}.py", listener.root.parent / "out.py")
        hint = listener.save("src/other.py")
        assert hint.at - started < 0.06 or number < 4, "late five times"
        if hint.at - started < 0.06:  # a busy machine may be late once
            break


def test_a_root_deleted_and_made_again_is_watched_again(listener: Listener) -> None:
    listener.watcher.watch(["src"], [])
    for number in range(5):
        shutil.rmtree(listener.root / "src")
        (listener.root / "src").mkdir()
        listener.wait_for_kind("lost")
        wait_until(lambda: not listener.watcher.take(), "calm")
        listener.watcher.check()
        listener.save(f"src/{number}.py")


def test_a_root_replaced_by_another_is_watched_again(listener: Listener) -> None:
    (listener.root / "other/deep").mkdir(parents=True)
    listener.watcher.watch(["src"], [])
    os.rename(listener.root / "src", listener.root / "old")
    os.rename(listener.root / "other", listener.root / "src")
    listener.wait_for_kind("lost")
    listener.save("src/deep/a.py")
    (listener.root / "old/sub/b.py").write_text("")
    listener.save("src/c.py")
    assert not [hint for hint in listener.heard if "b.py" in hint.path]


def test_the_project_itself_replaced_is_found_by_a_check(listener: Listener) -> None:
    listener.watcher.watch([""], [])
    os.rename(listener.root, listener.root.parent / "old")
    (listener.root / "src").mkdir(parents=True)
    listener.watcher.check()
    listener.wait_for_kind("lost")
    listener.save("src/a.py")


def test_what_is_missing_is_taken_up_when_it_appears(listener: Listener) -> None:
    listener.watcher.watch(["lib/deep/er"], ["data/in"])
    assert listener.watcher.mode == "events"
    for folder in ("lib/deep/er", "data/in"):
        (listener.root / folder).mkdir(parents=True)
        listener.wait_for_kind("lost")
        listener.save(f"{folder}/a.py")


def test_watching_other_folders_drops_the_old_and_looks_at_the_new(listener: Listener) -> None:
    (listener.root / "lib").mkdir()
    listener.watcher.watch(["src"], [])
    assert listener.watcher.take() == []
    listener.watcher.watch(["lib"], [])
    listener.wait_for_kind("lost")
    (listener.root / "src/a.py").write_text("")
    listener.save("lib/b.py")
    assert {hint.path for hint in listener.heard} == {"", "lib/b.py"}
    assert not listener.has_watch("src")
    listener.watcher.watch(["lib"], [])
    assert listener.watcher.take() == []


def test_trees_moved_in_are_watched_after_a_check(listener: Listener) -> None:
    listener.watcher.watch(["src"], [])
    for name in ("one", "two", "three"):
        outside = listener.root.parent / name
        (outside / "deep").mkdir(parents=True)
        (outside / "deep" / "a.py").write_text("")
        os.rename(outside, listener.root / "src" / name)
        listener.wait_for(lambda hint: hint.is_folder, "the folder")
        inner = f"src/{name}/deep"
        listener.check_until(partial(listener.has_watch, inner), "a watch on the tree")
        listener.save(f"{inner}/a.py")


def test_folders_made_fast_are_all_watched_after_a_check(listener: Listener) -> None:
    listener.watcher.watch(["src"], [])
    names = [f"src/{number}/a/b" for number in range(60)]
    for name in names:
        (listener.root / name).mkdir(parents=True)
        (listener.root / name / "c.py").write_text("")
    listener.check_until(lambda: all(map(listener.has_watch, names)), "all watches")
    for name in names[::10]:
        listener.save(f"{name}/c.py")


def test_trees_copied_and_removed_while_watching_leave_it_sound(listener: Listener) -> None:
    listener.watcher.watch(["src"], [""])
    source = listener.root.parent / "source"
    for number in range(40):
        (source / str(number) / "x").mkdir(parents=True)
        (source / str(number) / "x" / "a.py").write_text("")
    for _ in range(3):
        shutil.copytree(source, listener.root / "src/copy")
        shutil.rmtree(listener.root / "src/copy")
    subprocess.run(
        ["sh", "-c", 'tar -C "$0" -cf - . | tar -C "$1" -xf -', source, listener.root / "src"],
        check=True,
    )
    listener.check_until(lambda: listener.has_watch("src/39/x"), "a watch on the copy")
    listener.save("src/39/x/a.py")
    listener.save("src/b.py")


@on_linux
def test_a_thread_of_watchdog_that_dies_is_replaced_in_silence(
    listener: Listener, capfd: pytest.CaptureFixture[str]
) -> None:
    listener.watcher.watch(["src"], [])
    observer: Any = listener.watcher._observer

    def fail(*_: object) -> None:
        raise KeyError("in watchdog")

    if hasattr(observer, "_inotify_fd"):  # 7
        observer._inotify_fd.handle_event = fail
    else:
        for emitter in observer.emitters:
            emitter._inotify._group_events = fail
    (listener.root / "src/a.py").write_text("")
    listener.wait_for_kind("lost")
    listener.watcher.check()
    listener.check_until(lambda: listener.has_watch("src/sub"), "a new watch")
    listener.save("src/sub/b.py")
    assert capfd.readouterr() == ("", "")


@on_linux
def test_an_overflow_of_the_kernels_queue_is_told_as_lost(
    listener: Listener, capfd: pytest.CaptureFixture[str]
) -> None:
    listener.watcher.watch(["src"], [])
    lock = getattr(getattr(listener.watcher._observer, "_inotify_fd", None), "_lock", None)
    if lock is None:
        pytest.skip("watchdog 6 does not tell; the caller's own looks find it")
    path = str(listener.root / "src/a.py")
    queue = read_limits().queue or 16_384
    with lock:  # watchdog does not read meanwhile
        for _ in range(queue // 2):
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
            os.unlink(path)
    listener.wait_for_kind("lost")

    def is_heard() -> bool:
        """watchdog rebuilds its watches after it has told, and is deaf until it is done."""
        (listener.root / "src/sub/b.py").write_text("")
        return any(hint.path == "src/sub/b.py" for hint in listener.watcher.take())

    wait_until(is_heard, "events after the overflow")
    listener.watcher.take()
    listener.watcher.check()
    listener.wait_for_kind("lost")  # so that what changed meanwhile is looked at too
    assert capfd.readouterr() == ("", "")


def test_a_log_record_about_an_overflow_is_told_as_lost_and_stays_silent(
    listener: Listener, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handed_on: list[logging.LogRecord] = []
    outer = logging.Handler()
    monkeypatch.setattr(outer, "emit", handed_on.append)
    monkeypatch.setattr(logging.getLogger(), "handlers", [outer])
    listener.watcher.watch(["src"], [])
    logging.getLogger("watchdog.observers.inotify_c").warning("Inotify queue overflowed; …")
    listener.wait_for_kind("lost")
    logging.getLogger("watchdog.observers.inotify").error("something else")
    assert listener.watcher.take() == []
    assert handed_on == []
    assert capfd.readouterr() == ("", "")


def test_links_are_told_of_under_their_own_names(listener: Listener) -> None:
    outside = listener.root.parent / "outside"
    (outside / "deep").mkdir(parents=True)
    (listener.root / "src/link").symlink_to(outside)
    (listener.root / "again").symlink_to("src")
    (listener.root / "src/self").symlink_to("self")
    (listener.root / "src/dangling").symlink_to("nowhere/at/all")
    listener.watcher.watch(["src", "src/link", "again", "src/self", "src/dangling"], [])
    (outside / "deep/a.py").write_text("")
    listener.wait_for_kind("written", "src/link/deep/a.py")
    (listener.root / "src/b.py").write_text("")
    listener.wait_for_kind("written", "again/b.py")
    assert ("written", "src/b.py") in [(hint.kind, hint.path) for hint in listener.heard]
    (listener.root / "src/nowhere/at/all").mkdir(parents=True)
    (listener.root / "src/nowhere/at/all/c.py").write_text("")
    listener.wait_for(lambda hint: hint.path == "src/dangling/c.py", "the file behind the link")


def test_a_link_that_leads_elsewhere_now_is_followed_there(listener: Listener) -> None:
    for name in ("one", "two"):
        (listener.root.parent / name).mkdir()
    link = listener.root / "release"
    link.symlink_to("../one")
    listener.watcher.watch(["release"], [])
    listener.save("release/a.py")
    (listener.root / "next").symlink_to("../two")
    os.replace(listener.root / "next", link)
    listener.wait_for_kind("lost")
    listener.save("release/b.py")


@on_linux
@pytest.mark.parametrize(
    "name",
    [b"\x80\xff.py", "naïve.py".encode(), b"a\nb.py", "\u200fright.py".encode(), b"n" * 252 + b".py", b"a b*?.py"],
)  # fmt: skip
def test_any_name_is_told_as_it_is(listener: Listener, name: bytes) -> None:
    listener.watcher.watch(["src"], [])
    folder = os.fsencode(listener.root / "src/sub")
    with open(folder + b"/" + name, "wb"):
        pass
    listener.wait_for_kind("written", "src/sub/" + os.fsdecode(name))
    os.mkdir(folder + b"/d" + name[:200])
    inner = "src/sub/" + os.fsdecode(b"d" + name[:200])
    listener.wait_for_kind("created", inner)
    listener.check_until(lambda: listener.has_watch(inner), "a watch")
    listener.save(inner + "/a.py")


@on_linux
def test_a_folder_that_may_not_be_read_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "src/closed/below").mkdir(parents=True)

    def world() -> str:
        listener = Listener(tmp_path)
        os.chmod(tmp_path / "src/closed", 0)
        listener.watcher.watch(["src"], [])
        assert listener.watcher.check() == ()
        listener.save("src/a.py")
        assert (listener.watcher.mode, listener.watcher.check()) == ("events", ())
        os.chmod(tmp_path / "src/closed", 0o755)
        listener.check_until(lambda: listener.has_watch("src/closed/below"), "a watch")
        listener.save("src/closed/below/b.py")
        listener.watcher.close()
        return "fine"

    assert run_bound(world) == "fine"


@on_linux
def test_children_do_not_get_the_descriptor(listener: Listener) -> None:
    listener.watcher.watch(["src"], ["", ".."])
    told = subprocess.run(
        ["ls", "-l", "/proc/self/fd"], close_fds=False, capture_output=True, check=True
    )
    assert b"inotify" not in told.stdout


@on_linux
def test_folders_are_watched_once_and_given_back(listener: Listener) -> None:
    """Files of the whole project wait in one queue; nothing is left after the end."""
    before = len(watched_inodes())
    listener.watcher.watch(["src", "src/sub", ""], ["src", ""])
    assert len(watched_inodes()) - before == 3
    listener.watcher.close()
    assert len(watched_inodes()) == before
    assert not [
        one for one in threading.enumerate() if type(one).__module__.startswith("watchdog.")
    ]


def test_closing_does_not_wait_for_what_hangs(listener: Listener) -> None:
    listener.watcher.watch(["src"], [])
    observer: Any = listener.watcher._observer
    may_end = threading.Event()
    stop = observer.stop
    observer.stop = lambda: (may_end.wait(), stop())
    listener.watcher.close()
    may_end.set()
    observer.join(DEADLINE)
    wait_until(
        lambda: "orch-watcher-close" not in [one.name for one in threading.enumerate()], "the end"
    )


def test_a_hook_for_dying_threads_is_put_back(listener: Listener) -> None:
    before = threading.excepthook
    listener.watcher.watch(["src"], [])
    listener.watcher.close()
    assert threading.excepthook is before


def test_the_bell_rings_once_until_hints_are_taken(listener: Listener) -> None:
    listener.watcher.watch(["src"], [])
    for number in range(50):
        (listener.root / f"src/{number}.py").write_text("")
    wait_until(lambda: len(listener.watcher._hints) >= 100, "all hints")
    assert listener.rings == 1
    assert len(listener.watcher.take()) >= 100
    listener.save("src/a.py")


def test_hints_that_nobody_takes_become_one_that_says_lost(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher_module, "MOST_HINTS", 20)
    listener.watcher.watch(["src"], [])
    for number in range(50):
        (listener.root / f"src/{number}.py").write_text("")
    listener.wait_for_kind("lost")


def test_a_bell_that_raises_ends_nothing(tmp_path: Path) -> None:
    def ring() -> None:
        raise RuntimeError

    watcher = Watcher(str(tmp_path), ring)
    watcher.watch([""], [])
    with contextlib.closing(watcher):
        for name in ("a.py", "b.py"):
            (tmp_path / name).write_text("")
            heard: list[str] = []

            def has_come(name: str = name, heard: list[str] = heard) -> bool:
                heard += [hint.path for hint in watcher.take()]
                return name in heard

            wait_until(has_come, name)


def test_polling_by_wish_starts_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    listener = Listener(tmp_path, must_poll=True)
    listener.watcher.watch([""], [])
    assert threading.active_count() == before
    assert listener.watcher.mode == "polling"
    assert listener.watcher.check() == ()
    assert listener.watcher.note_missed() is None
    assert listener.watcher.take() == []
    listener.watcher.close()


def test_intervals_grow_with_the_project(listener: Listener, tmp_path: Path) -> None:
    listener.watcher.watch(["src"], [])
    assert listener.watcher.interval(10) == CALM
    assert listener.watcher.interval(5_000) == CALM
    assert CALM < listener.watcher.interval(10_000) < CALM_MOST
    assert listener.watcher.interval(10_000_000) == CALM_MOST
    polling = Watcher(str(tmp_path), lambda: None, must_poll=True)
    assert polling.interval(10) == POLL
    assert POLL < polling.interval(4_000) < POLL_MOST
    assert polling.interval(20_000) == POLL_MOST


def test_two_changes_without_any_event_make_it_poll(listener: Listener) -> None:
    listener.watcher.watch(["src"], [])
    assert listener.watcher.note_missed() is None
    listener.save("src/a.py")
    assert listener.watcher.note_missed() is None  # one came in between: they do come
    problem = listener.watcher.note_missed()
    assert problem is not None
    assert (problem.code, problem.severity) == ("no-events", "warning")
    assert listener.watcher.mode == "polling"
    assert listener.watcher.note_missed() is None


@pytest.mark.parametrize(
    ("silent", "mode"), [(("src",), "mixed"), (("src", "lib"), "polling"), ((), "events")]
)
def test_a_share_is_named_once_and_looked_at_often(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, silent: tuple[str, ...], mode: str
) -> None:
    (listener.root / "lib").mkdir()
    monkeypatch.setattr(
        watcher_module,
        "filesystem_of",
        lambda path: "nfs4" if os.path.basename(path) in silent else "ext4",
    )
    listener.watcher.watch(["src", "lib"], [])
    told = listener.watcher.check()
    assert [one.code for one in told] == (["no-events"] if silent else [])
    assert all("nfs4" in one.message for one in told)
    assert listener.watcher.mode == mode
    assert listener.watcher.check() == ()


# A user namespace has limits of its own: /proc/sys/user. (/proc/sys/fs/inotify is the whole machine's.)
LIMITED = """
import sys, threading
sys.path[:0] = {path!r}
from tests.unit.watch.files.test_watcher import Listener
from pathlib import Path

def limit(name, number):
    Path("/proc/sys/user", name).write_text(str(number))

listener = Listener(Path({root!r}))
"""


def run_limited(root: Path, program: str) -> str:
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    may = (
        "test -w /proc/sys/user/max_inotify_watches && echo 99 >/proc/sys/user/max_inotify_watches"
    )
    probe = subprocess.run(["unshare", "-Ur", "sh", "-c", may], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"user namespaces are not allowed here: {probe.stderr.strip()}")
    text = LIMITED.format(path=sys.path, root=str(root)) + textwrap.dedent(program)
    done = subprocess.run(
        ["unshare", "-Ur", sys.executable, "-W", "error", "-c", text],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


@on_linux
def test_the_limit_of_watches_is_told_once_and_mended_when_it_is_raised(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"src/{number}").mkdir(parents=True)
    said = run_limited(
        tmp_path,
        """
        limit("max_inotify_watches", 4)
        listener.watcher.watch(["src"], [""])
        for problem in listener.watcher.check():
            print(problem.code, problem.severity, problem.message, problem.hint, sep="|")
        print(listener.watcher.mode in ("mixed", "polling"), listener.watcher.interval(10))
        listener.watcher.take()
        for _ in range(3):
            assert listener.watcher.check() == ()
        assert listener.watcher.take() == [], "nothing new was lost"
        limit("max_inotify_watches", 400)
        assert listener.watcher.check() == ()
        print(listener.watcher.mode)
        listener.wait_for_kind("lost")
        listener.save("src/9/a.py")
        listener.watcher.close()
        """,
    )
    told, short, mended = said.splitlines()
    code, severity, message, hint = told.split("|")
    assert (code, severity) == ("watch-limit", "warning")
    assert "limit of 4 " in message
    assert "needs 12" in message
    assert "sudo sysctl fs.inotify.max_user_watches=524288" in hint
    assert short == f"True {POLL}"
    assert mended == "events"


@on_linux
def test_without_an_instance_it_polls_until_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    said = run_limited(
        tmp_path,
        """
        limit("max_inotify_instances", 0)
        listener.watcher.watch(["src"], [])
        for problem in listener.watcher.check():
            print(problem.code, problem.severity, problem.message, problem.hint, sep="|")
        print(listener.watcher.mode, listener.watcher.interval(10), listener.watcher.check())
        limit("max_inotify_instances", 100)
        assert listener.watcher.check() == ()
        print(listener.watcher.mode)
        listener.wait_for_kind("lost")
        listener.save("src/a.py")
        listener.watcher.close()
        """,
    )
    told, short, mended = said.splitlines()
    assert told.startswith("instance-limit|warning|")
    assert "limit is 0 " in told
    assert "sudo sysctl fs.inotify.max_user_instances=" in told
    assert short == f"polling {POLL} ()"
    assert mended == "events"
