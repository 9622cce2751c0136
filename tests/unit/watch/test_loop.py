"""The loop of a watch, from its beginning to its end, with real projects and real workers."""

from __future__ import annotations

import gc
import os

from discover_orch.watch.watch_events import WatchWaiting
from tests.conftest import Project
from tests.support.running import is_gone
from tests.support.watched import ALL, FILES, Watch, Watched, gated, tool


def test_it_runs_everything_and_then_waits(watch: Watch) -> None:
    watched = watch()
    (first,) = watched.runs
    assert (first.tools, first.status) == (ALL, "passed")
    assert first.began.is_first
    assert set(first.reasons.values()) == {"all watched tools"}
    waiting = watched.seen[-1]
    assert isinstance(waiting, WatchWaiting)
    assert (waiting.tools, waiting.files, waiting.scope) == (4, 6, "tool")


def test_it_can_wait_for_the_first_change(watch: Watch) -> None:
    watched = watch(runs_at_start=False)
    assert watched.runs == []
    watched.save({"src/a.py": tool("a1")})
    run = watched.next_run()
    assert (run.tools, run.began.is_first) == (("a",), True)


def test_no_process_and_no_descriptor_is_left(project: Project) -> None:
    root = project(FILES)
    before = sorted(os.listdir("/dev/fd"))
    watched = Watched(root, preload=("decimal",))
    watched.until_idle()
    warm_worker = watched.watching._prewarmer._warm_worker._worker
    assert warm_worker is not None
    watched.close()
    assert is_gone(warm_worker.pid)
    assert sorted(os.listdir("/dev/fd")) == before
    gc.unfreeze()


def test_closed_in_the_middle_of_a_run_it_leaves_none_either(project: Project) -> None:
    root = project({**FILES, "src/a.py": gated().replace("'begins'", "'begins', os.getpid()")})
    watched = Watched(root)
    watched.until_printed("begins")
    pid = int(watched.runs[-1].output.split()[-1])
    watched.close()
    assert is_gone(pid)
