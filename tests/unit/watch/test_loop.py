"""The loop of a watch, from its beginning to its end, with real projects and real workers."""

from __future__ import annotations

import gc
import os
import select
import signal

from discover_orch.watch.events import WatchNote, WatchWaiting
from tests.conftest import Project
from tests.support.running import is_gone
from tests.support.watched import ALL, DEADLINE, FILES, Watch, Watched, gated, tool


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
    warm_worker = watched.watching._warm_worker._worker
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


# The warm worker.


def test_it_imports_what_the_tools_do_or_what_the_user_names(watch: Watch) -> None:
    files = {"src/a.py": tool("a0", top="import decimal")}
    for preload, wanted in ((None, ("decimal", ())), (("json",), ("json", ()))):
        watched = watch(files, preload=preload, waits=False)
        order = watched.watching._spec().order
        assert wanted in order.modules
        assert order.root == str(watched.root)
        watched.close()
    assert watch(files, preload=()).watching._spec().order.modules == ()


def test_each_run_after_the_first_uses_the_warm_worker(watch: Watch) -> None:
    watched = watch({"src/a.py": tool("a0", top="import decimal")}, preload=None)
    assert watched.runs[0].began.imported == ()
    warm_worker = watched.watching._warm_worker._worker
    assert warm_worker is not None
    _wait_for_its_word(warm_worker.filenos()[0])
    watched.save({"src/a.py": tool("a1", top="import decimal")})
    run = watched.next_run()
    assert "decimal" in [name for name, _, _ in run.began.imported]
    assert (watched.all_of(WatchNote), run.output) == ([], "a1\n")


def test_after_a_killed_warm_worker_the_run_imports_itself_and_says_so(watch: Watch) -> None:
    watched = watch(preload=("decimal",))
    warm_worker = watched.watching._warm_worker._worker
    assert warm_worker is not None
    _wait_for_its_word(warm_worker.filenos()[0])
    os.kill(warm_worker.pid, signal.SIGKILL)
    os.waitid(os.P_PID, warm_worker.pid, os.WEXITED | os.WNOWAIT)
    watched.save({"src/a.py": tool("a1")})
    run = watched.next_run()
    assert (run.status, run.output) == ("passed", "a1\n")
    (note,) = watched.all_of(WatchNote)
    assert note.problem.message == (
        "this run starts without preloaded imports: the process that preloads them was killed by "
        "SIGKILL (out of memory?)"
    )


def _wait_for_its_word(fd: int) -> None:
    assert select.select([fd], [], [], DEADLINE)[0]
