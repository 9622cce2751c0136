"""File events with real files and the installed watchdog (6 and 7 must both pass).

Each test waits for an event that matches, and shows what arrived when none does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from discover_orch.watch.file_events import (
    INTERVAL,
    LATE,
    POLL,
    FileEvent,
    Watcher,
)
from tests.support.permissions import run_bound
from tests.support.running import wait_until

DEADLINE = 60.0
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="about inotify")


class Listener:
    """A watcher on a project, and all events so far."""

    def __init__(self, root: Path, *, must_poll: bool = False) -> None:
        self.root = root
        self.woken = threading.Event()
        self.wakes = 0
        self.events: list[FileEvent] = []
        self.watcher = Watcher(str(root), self.wake, must_poll=must_poll)

    def wake(self) -> None:
        self.wakes += 1
        self.woken.set()

    def wait_for(self, is_it: Callable[[FileEvent], bool], what: str = "an event") -> FileEvent:
        deadline = time.monotonic() + DEADLINE
        while True:
            drained = self.watcher.drain()
            self.events += drained
            for event in drained:
                if is_it(event):
                    return event
            if not self.woken.wait(max(0.0, deadline - time.monotonic())):
                raise AssertionError(f"{what} did not come, but at last {self.events[-30:]}")
            self.woken.clear()

    def wait_for_path(self, path: str, *, is_finished: bool | None = None) -> FileEvent:
        def is_it(event: FileEvent) -> bool:
            return event.path == path and is_finished in (None, event.is_finished)

        return self.wait_for(is_it, f"an event of {path}")

    def wait_for_lost(self) -> None:
        """The event that says that anything may have changed."""
        self.wait_for_path("")

    def save(self, path: str) -> FileEvent:
        """Write a file, and wait for the event of it."""
        (self.root / path).write_text("x = 1\n")
        return self.wait_for_path(path, is_finished=True)

    def save_until_announced(self, path: str) -> None:
        """Write a file again and again until an event says so."""

        def is_announced() -> bool:
            (self.root / path).write_text("x = 1\n")
            return path in [event.path for event in self.watcher.drain()]

        wait_until(is_announced, f"an event of {path}")


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    (tmp_path / "project" / "src" / "sub").mkdir(parents=True)
    made = Listener(tmp_path / "project")
    yield made
    made.watcher.close()


def test_a_save_is_written_with_its_time(listener: Listener) -> None:
    listener.watcher.watch(["src"], [""])
    before = time.monotonic()
    event = listener.save("src/sub/a.py")
    assert before <= event.at <= time.monotonic()
    assert not event.is_folder
    listener.save("orch.toml")


def test_an_event_that_comes_long_after_the_change_is_late(listener: Listener) -> None:
    path = listener.root / "src/a.py"
    path.write_text("x = 1\n")
    listener.watcher.watch(["src"], [])
    while time.time() - path.stat().st_ctime < 2 * LATE:
        pass
    with path.open("r+"):
        pass  # it is closed as after writing, and was not changed
    assert listener.wait_for_path("src/a.py", is_finished=True).is_late


def test_a_save_by_rename_is_moved_onto_the_name(listener: Listener) -> None:
    listener.watcher.watch(["src"], [])
    (listener.root / "src/a.tmp").write_text("x = 1\n")
    os.replace(listener.root / "src/a.tmp", listener.root / "src/a.py")
    listener.wait_for_path("src/a.py", is_finished=True)
    assert "src/a.tmp" in [event.path for event in listener.events]


def test_a_deletion_and_a_new_folder_are_announced(listener: Listener) -> None:
    listener.watcher.watch(["src"], [])
    listener.save("src/a.py")
    (listener.root / "src/a.py").unlink()
    listener.wait_for_path("src/a.py", is_finished=False)
    (listener.root / "src/new").mkdir()
    assert listener.wait_for_path("src/new", is_finished=False).is_folder
    listener.save_until_announced("src/new/b.py")


def test_a_flat_folder_has_no_events_of_what_is_below(listener: Listener) -> None:
    listener.watcher.watch([], ["src"])
    (listener.root / "src/sub/a.py").write_text("")
    listener.save("src/b.py")
    assert not [event for event in listener.events if event.path.startswith("src/sub")]


def test_reading_and_noise_wake_nothing(listener: Listener) -> None:
    for name in (".git", ".orch", "__pycache__", "node_modules/x", ".venv/lib"):
        (listener.root / "src" / name).mkdir(parents=True)
    for number in range(20):
        (listener.root / f"src/sub/{number}.py").write_text("x = 1\n")
    listener.watcher.watch(["src"], [""])
    for path in (listener.root / "src/sub").iterdir():
        path.read_bytes()
    os.chmod(listener.root / "src/sub/0.py", 0o600)
    for name in (".git/index", ".orch/log", "__pycache__/a.pyc", "node_modules/x/y", ".venv/lib/z.py",
                 "a.py~", ".a.py.swp", ".#a.py", "b.pyc"):  # fmt: skip
        (listener.root / "src" / name).write_text("x")
    shutil.rmtree(listener.root / "src/__pycache__")
    listener.save("src/marker.py")
    assert {event.path for event in listener.events} == {"src/marker.py"}
    assert listener.wakes <= len(listener.events)


def test_a_requested_folder_counts_even_inside_of_noise(listener: Listener) -> None:
    (listener.root / ".venv/inputs").mkdir(parents=True)
    listener.watcher.watch([""], [".venv/inputs"])
    listener.save(".venv/inputs/data.csv")


def test_folders_outside_the_root_have_relative_names(listener: Listener) -> None:
    (listener.root.parent / "beside").mkdir()
    listener.watcher.watch(["../beside"], [])
    listener.save("../beside/a.py")


# Folders that come and go.


def test_a_folder_deleted_and_made_again_is_watched_again(listener: Listener) -> None:
    listener.watcher.watch(["src"], [])
    for number in range(5):
        shutil.rmtree(listener.root / "src")
        (listener.root / "src").mkdir()
        listener.wait_for_lost()
        listener.save_until_announced(f"src/{number}.py")


def test_a_folder_replaced_by_another_is_watched_again(listener: Listener) -> None:
    (listener.root / "other/deep").mkdir(parents=True)
    listener.watcher.watch(["src"], [])
    os.rename(listener.root / "src", listener.root / "old")
    os.rename(listener.root / "other", listener.root / "src")
    listener.wait_for_lost()
    listener.save_until_announced("src/deep/a.py")
    (listener.root / "old/sub/b.py").write_text("")
    listener.save("src/c.py")
    assert not [event for event in listener.events if "b.py" in event.path]


def test_a_missing_folder_is_subscribed_to_when_it_appears(listener: Listener) -> None:
    listener.watcher.watch(["lib/deep/er"], ["data/in"])
    assert listener.watcher.mode == "events"
    for folder in ("lib/deep/er", "data/in"):
        (listener.root / folder).mkdir(parents=True)
        listener.wait_for_lost()
        listener.save_until_announced(f"{folder}/a.py")


def test_watching_other_folders_drops_the_old_ones(listener: Listener) -> None:
    (listener.root / "lib").mkdir()
    listener.watcher.watch(["src"], [])
    assert listener.watcher.drain() == []
    listener.watcher.watch(["lib"], [])
    listener.wait_for_lost()
    (listener.root / "src/a.py").write_text("")
    listener.save("lib/b.py")
    assert {event.path for event in listener.events} == {"", "lib/b.py"}
    listener.watcher.watch(["lib"], [])
    assert listener.watcher.drain() == []


def test_trees_copied_and_removed_while_watching_do_no_harm(
    listener: Listener, capfd: pytest.CaptureFixture[str]
) -> None:
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
    listener.save("src/b.py")
    listener.watcher.note_missed(["src/39/x/a.py"])  # as the snapshot would find it
    listener.save_until_announced("src/39/x/a.py")
    assert capfd.readouterr() == ("", "")


def test_links_have_events_under_their_own_names(listener: Listener) -> None:
    outside = listener.root.parent / "outside"
    (outside / "deep").mkdir(parents=True)
    (listener.root / "src/link").symlink_to(outside)
    (listener.root / "again").symlink_to("src")
    (listener.root / "src/self").symlink_to("self")
    (listener.root / "src/dangling").symlink_to("nowhere/at/all")
    listener.watcher.watch(["src", "src/link", "again", "src/self", "src/dangling"], [])
    (outside / "deep/a.py").write_text("")
    listener.wait_for_path("src/link/deep/a.py", is_finished=True)
    (listener.root / "src/b.py").write_text("")
    listener.wait_for_path("again/b.py", is_finished=True)
    assert "src/b.py" in [event.path for event in listener.events]
    (listener.root / "src/nowhere/at/all").mkdir(parents=True)
    listener.save_until_announced("src/dangling/c.py")


def test_a_link_with_another_target_is_followed_there(listener: Listener) -> None:
    for name in ("one", "two"):
        (listener.root.parent / name).mkdir()
    link = listener.root / "release"
    link.symlink_to("../one")
    listener.watcher.watch(["release"], [])
    listener.save("release/a.py")
    (listener.root / "next").symlink_to("../two")
    os.replace(listener.root / "next", link)
    listener.wait_for_lost()
    listener.save_until_announced("release/b.py")


@on_linux
@pytest.mark.parametrize(
    "name",
    [b"\x80\xff.py", "naïve.py".encode(), b"a\nb.py", "\u200fright.py".encode(), b"n" * 252 + b".py", b"a b*?.py"],
)  # fmt: skip
def test_any_name_arrives_as_it_is(listener: Listener, name: bytes) -> None:
    listener.watcher.watch(["src"], [])
    folder = os.fsencode(listener.root / "src/sub")
    with open(folder + b"/" + name, "wb"):
        pass
    listener.wait_for_path("src/sub/" + os.fsdecode(name), is_finished=True)


@on_linux
def test_a_folder_that_may_not_be_read_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "src/closed/below").mkdir(parents=True)

    def world() -> str:
        listener = Listener(tmp_path)
        os.chmod(tmp_path / "src/closed", 0)
        listener.watcher.watch(["src"], [])
        listener.save("src/a.py")
        assert (listener.watcher.mode, listener.watcher.drain_problems()) == ("events", [])
        os.chmod(tmp_path / "src/closed", 0o755)
        listener.watcher.close()
        return "fine"

    assert run_bound(world) == "fine"


# What is left behind.


@on_linux
def test_children_do_not_get_the_descriptor(listener: Listener) -> None:
    listener.watcher.watch(["src"], ["", ".."])
    done = subprocess.run(
        ["ls", "-l", "/proc/self/fd"], close_fds=False, capture_output=True, check=True
    )
    assert b"inotify" not in done.stdout


@on_linux
def test_nothing_is_left_after_the_end(listener: Listener) -> None:
    def inotify() -> list[str]:
        found = []
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                found.append(os.readlink(f"/proc/self/fd/{name}"))
        return [target for target in found if "inotify" in target]

    before = inotify()
    listener.watcher.watch(["src", "src/sub", ""], ["src", ""])
    assert len(inotify()) > len(before)
    listener.watcher.close()  # waits for a second at most, and what still ends then does so soon
    wait_until(lambda: inotify() == before, "the end of the subscriptions")
    wait_until(
        lambda: (
            not any(
                type(thread).__module__.startswith("watchdog.") for thread in threading.enumerate()
            )
        ),
        "the end of watchdog's threads",
    )


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
        lambda: "orch-watcher-close" not in [thread.name for thread in threading.enumerate()],
        "the end",
    )


# The queue.


def test_a_wake_that_raises_ends_nothing(tmp_path: Path) -> None:
    def wake() -> None:
        raise RuntimeError

    watcher = Watcher(str(tmp_path), wake)
    watcher.watch([""], [])
    with contextlib.closing(watcher):
        for name in ("a.py", "b.py"):
            (tmp_path / name).write_text("")
            arrived: list[str] = []

            def has_come(name: str = name, arrived: list[str] = arrived) -> bool:
                arrived += [event.path for event in watcher.drain()]
                return name in arrived

            wait_until(has_come, name)


# Polling.


def test_polling_on_request_starts_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    listener = Listener(tmp_path, must_poll=True)
    listener.watcher.watch([""], [])
    listener.watcher.note_missed(["a.py"])
    listener.watcher.note_missed(["a.py"])
    assert threading.active_count() == before
    assert listener.watcher.mode == "polling"
    assert listener.watcher.drain_problems() == []
    assert listener.watcher.drain() == []
    listener.watcher.close()


def test_slow_comparisons_are_further_apart(listener: Listener, tmp_path: Path) -> None:
    listener.watcher.watch(["src"], [])
    polling = Watcher(str(tmp_path), lambda: None, must_poll=True)
    for duration, while_events_come, when_polling in ((0.001, INTERVAL, POLL), (1, 40, 40)):
        assert listener.watcher.interval(duration) == while_events_come
        assert polling.interval(duration) == when_polling


def test_a_missed_change_subscribes_again_and_the_second_one_polls(listener: Listener) -> None:
    listener.watcher.watch(["src"], [])
    listener.watcher.note_missed(["src/a.py"])
    listener.wait_for_lost()
    listener.save("src/b.py")  # an event in that folder: they do arrive
    listener.watcher.note_missed(["src/a.py"])
    listener.wait_for_lost()
    listener.save("src/sub/c.py")
    listener.watcher.note_missed(["src/sub/c.py"])
    assert (listener.watcher.mode, listener.watcher.drain_problems()) == ("events", [])
    listener.watcher.note_missed(["src/a.py"])
    (problem,) = listener.watcher.drain_problems()
    assert (problem.code, problem.severity) == ("no-events", "warning")
    assert problem.message == "the system sends no events for changes in src/"
    assert "fs.inotify.max_user_watches" in problem.hint
    assert listener.watcher.mode == "polling"
    listener.watcher.note_missed(["src/a.py"])
    assert listener.watcher.drain_problems() == []


# A user namespace has limits of its own: /proc/sys/user. (/proc/sys/fs/inotify is the whole machine's.)
LIMITED = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from discover_orch.watch.file_events import Watcher

Path("/proc/sys/user", {name!r}).write_text("0")
watcher = Watcher({root!r}, lambda: None)
watcher.watch(["src"], [""])
for problem in watcher.drain_problems():
    print(problem.code, problem.severity, problem.message, problem.hint, sep="|")
print(watcher.mode)
watcher.close()
"""


@on_linux
@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("max_inotify_watches", "fs.inotify.max_user_watches"),
        ("max_inotify_instances", "fs.inotify.max_user_instances"),
    ],
)
def test_at_a_limit_it_polls_and_says_how_to_raise_it(
    tmp_path: Path, name: str, setting: str
) -> None:
    (tmp_path / "src").mkdir()
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    probe = ["unshare", "-Ur", "sh", "-c", f"echo 99 >/proc/sys/user/{name}"]
    if subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("user namespaces are not allowed here")
    text = LIMITED.format(path=sys.path, root=str(tmp_path), name=name)
    done = subprocess.run(
        ["unshare", "-Ur", sys.executable, "-W", "error", "-c", textwrap.dedent(text)],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    line, mode = done.stdout.splitlines()
    assert line.startswith("watch-limit|warning|the limit of inotify ")
    assert f"sudo sysctl {setting}=" in line
    assert mode == "polling"
