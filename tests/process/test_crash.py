"""A tool that ends its process is a failed tool: named, placed where it can be told, and survived."""

from __future__ import annotations

from pathlib import Path

import pytest

from discover_orch.execution.supervisor import WorkerDied
from tests.conftest import Project
from tests.support.driven_worker import DrivenWorker

SEGFAULT = "import ctypes\ndef run():\n    print('before')\n    ctypes.string_at(0)\n"


def die(root: Path, module: str = "bad") -> tuple[DrivenWorker, WorkerDied]:
    with DrivenWorker(root) as worker:
        worker.send(module)
        died = worker.until_over()
        assert isinstance(died, WorkerDied)
        return worker, died


@pytest.mark.parametrize(
    ("body", "sentence", "code", "signal"),
    [
        ("os._exit(3)", "exited with code 3", 3, None),
        ("os._exit(0)", "exited with code 0", 0, None),
        ("os.kill(os.getpid(), 9)", "was killed by SIGKILL (out of memory?)", None, "SIGKILL"),
        ("os.kill(os.getpid(), 15)", "was killed by SIGTERM", None, "SIGTERM"),
        ("os.abort()", "crashed with SIGABRT", None, "SIGABRT"),
        ("os.execv('/bin/true', ['true'])", "exited with code 0", 0, None),
    ],
)
def test_how_it_ended_is_told(
    project: Project, body: str, sentence: str, code: int | None, signal: str | None
) -> None:
    root = project({"bad.py": f"import os\ndef run():\n    print('before', end='')\n    {body}\n"})
    worker, died = die(root)
    assert (died.sentence, died.exit_code, died.signal) == (sentence, code, signal)
    # Python's own buffer is lost with the process, as anywhere.
    assert worker.output() in ("before", "")


def test_a_crash_in_c_code_says_where_the_users_code_was(project: Project) -> None:
    worker, died = die(project({"bad.py": SEGFAULT}))
    assert died.sentence == "crashed with SIGSEGV"
    assert (died.path, died.line) == ("bad.py", 4)
    assert 'File "bad.py", line 4, in run' in died.traceback
    assert "discover_orch" not in died.traceback
    assert "<string>" not in died.traceback
    assert worker.output() == "before\n"


@pytest.mark.parametrize(
    "body", ["os.closerange(3, 256)", "os.closerange(0, 256)\n    open('mine', 'w').write('x')"]
)
def test_a_tool_that_closes_orchs_descriptors_is_told_so_and_its_files_are_spared(
    project: Project, body: str
) -> None:
    root = project(
        {
            "bad.py": f"""
import os
KEPT = []
def run():
    {body}
    for n in range(40):
        KEPT.append(open(f"file{{n}}", "w"))
"""
        }
    )
    _, died = die(root)
    assert "closed the file descriptors" in died.sentence
    assert all(path.read_text() == "" for path in root.glob("file*"))


@pytest.mark.parametrize(
    "end", ["return", "raise ValueError('in the child')", "sys.exit(4)", "os._exit(0)"]
)
def test_a_child_that_forked_out_of_a_tool_has_no_say(project: Project, end: str) -> None:
    root = project(
        {
            "forks.py": f"""
            import os, sys, warnings
            warnings.simplefilter("ignore", DeprecationWarning)
            def run(conn):
                conn.execute("CREATE TABLE t (a)")
                pid = os.fork()
                if pid == 0:
                    {end}
                os.waitpid(pid, 0)
                return {{"parent": 1}}
            """,
        }
    )
    with DrivenWorker(root) as worker:
        ended = worker.run("forks", "conn")
        assert (ended.status, ended.metrics) == ("passed", {"parent": 1})
        worker.finish()
