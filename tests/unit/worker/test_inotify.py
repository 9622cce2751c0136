"""The kernel's events, as the module that reads them tells them. What a tool causes is in `process/test_observation`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from discover_orch.worker.inotify import (
    CHANGED,
    CREATED,
    GONE,
    LIMIT_REACHED,
    MOVED,
    READ,
    READ_BEFORE,
    WRITTEN,
    FileEvents,
)
from tests.support.project_builder import clean_environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel has no inotify")


def follow(root: Path) -> FileEvents:
    return FileEvents(str(root), lambda path: os.path.basename(path) == "skipped")


def find_queues() -> set[int]:
    """The open descriptors of queues of events."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return {int(link.name) for link in links if os.readlink(link) == "anon_inode:inotify"}


def told(events: FileEvents, root: Path) -> dict[str, int]:
    events.drain()
    shown = READ | CHANGED | READ_BEFORE | GONE
    return {str(Path(path).relative_to(root)): one & shown for path, one in events.files.items()}


def test_each_event_has_its_meaning(tmp_path: Path) -> None:
    for name in ("old", "moved", "linked", "updated", "skipped/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    events = follow(tmp_path)
    (tmp_path / "old").read_text()
    (tmp_path / "new").write_text("")
    (tmp_path / "moved").rename(tmp_path / "there")
    os.link(tmp_path / "linked", tmp_path / "link")
    (tmp_path / "updated").read_text()
    (tmp_path / "updated").write_text("")
    (tmp_path / "skipped/x").write_text("")
    assert told(events, tmp_path) == {
        "old": READ,
        "new": CREATED | WRITTEN,
        "moved": GONE,
        "there": MOVED,
        "link": CREATED,
        "updated": READ | WRITTEN | READ_BEFORE,
    }


def test_what_was_before_is_forgotten_and_nothing_is_read_twice(tmp_path: Path) -> None:
    events = follow(tmp_path)
    (tmp_path / "before").touch()
    events.clear()
    (tmp_path / "after").touch()
    assert told(events, tmp_path) == told(events, tmp_path) == {"after": CREATED | WRITTEN}


def test_a_folder_that_is_renamed_is_followed_by_its_new_name(tmp_path: Path) -> None:
    (tmp_path / "one/deep").mkdir(parents=True)
    events = follow(tmp_path)
    (tmp_path / "one").rename(tmp_path / "two")
    events.clear()
    (tmp_path / "two/deep/x").touch()
    assert told(events, tmp_path) == {"two/deep/x": CREATED | WRITTEN}


def test_links_that_form_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "root/out").symlink_to(tmp_path / "outside")
    (tmp_path / "outside/back").symlink_to(tmp_path)
    events = follow(tmp_path / "root")
    (tmp_path / "outside/x").touch()
    assert told(events, tmp_path) == {"root/out/x": CREATED | WRITTEN}


def test_a_forked_child_leaves_the_events_to_its_parent(tmp_path: Path) -> None:
    events = follow(tmp_path)
    (tmp_path / "x").touch()
    child = os.fork()
    if child == 0:
        events.drain()
        os._exit(len(events.files))
    assert os.waitpid(child, 0)[1] == 0
    assert told(events, tmp_path) == {"x": CREATED | WRITTEN}


def test_a_queue_that_was_closed_is_told_also_where_its_number_is_used_again(
    tmp_path: Path,
) -> None:
    for number in range(2):
        known = find_queues()
        events = follow(tmp_path)
        (queue,) = find_queues() - known
        os.close(queue)
        again = os.open(tmp_path, os.O_RDONLY) if number else None
        events.drain()
        assert events.is_closed
        if again is not None:
            os.close(again)


LIMITED = """
import sys
from discover_orch.worker.inotify import FileEvents
events = FileEvents(sys.argv[1], lambda path: False)
open(sys.argv[1] + "/x", "w").close()
events.drain()
print([*events.gaps], len(events.files))
events.clear()
print([*events.gaps])
"""


def test_the_limit_of_watches_is_a_gap_for_as_long_as_it_lasts(tmp_path: Path) -> None:
    (tmp_path / "a/b/c/d").mkdir(parents=True)
    limit = 'echo 3 > /proc/sys/user/max_inotify_watches && exec "$@"'
    own = [shutil.which("unshare") or "unshare", "--user", "--map-root-user", "sh", "-c", limit, "sh"]  # fmt: skip
    if not shutil.which("unshare") or subprocess.run([*own, "true"], check=False).returncode:
        pytest.skip("no namespace of its own with a limit of its own")
    done = subprocess.run(
        [*own, sys.executable, "-c", LIMITED, str(tmp_path)],
        env=clean_environment(PYTHONPATH=str(Path(__file__).parents[3])),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{[LIMIT_REACHED]} 1\n{[LIMIT_REACHED]}\n"
