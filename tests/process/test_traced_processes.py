"""Tracing never breaks what it traces: signals, timeouts, debuggers, few descriptors, users with few rights.

Each `orch` is a real process. What a tool has used is asked afterwards: an edit of its input makes it stale.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import dedent

import pytest

from tests.conftest import Orch, Project
from tests.support import refused_trace
from tests.support.edits import stale_after
from tests.support.gates import Gate
from tests.support.marks import slow_but
from tests.support.programs import find_program
from tests.support.project_builder import run_orch, write_files
from tests.support.remembered import reasons
from tests.support.running import find_marked, is_gone, running, wait_until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="what child processes open is seen on Linux only"
)
NOBODY = 65534


def indented(body: str) -> str:
    return "\n".join(f"    {line}" for line in dedent(body).strip().splitlines())


# ---- signals, while files are opened ----

#: Children and native code open files until they are ended.
BUSY = {
    "native code": """
        import ctypes
        libc = ctypes.CDLL(None)
        while True:
            libc.close(libc.open(b"a.csv", 0))
        """,
    "children": """
        import subprocess
        while True:
            subprocess.run(["cat", "a.csv"], stdout=subprocess.DEVNULL)
        """,
    "a shell": """
        import subprocess
        subprocess.run("while true; do read line < a.csv; done", shell=True)
        """,
    "threads": """
        import ctypes, threading
        libc = ctypes.CDLL(None)
        def work():
            while True:
                libc.close(libc.open(b"a.csv", 0))
        for _ in range(4):
            threading.Thread(target=work, daemon=True).start()
        work()
        """,
}
BUSY_TOOL = """
STAGE = "s"
ORCH = {{"timeout": {seconds}}}
def run():
    import os, subprocess
    with open("pid", "w") as file:
        file.write(str(os.getpid()))
    subprocess.run(["true"], check=True)
    print("begun", flush=True)
{body}
"""


@pytest.mark.parametrize("how", slow_but(["native code", "children"], BUSY))
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_tool_whose_processes_open_files_all_the_time(
    project: Project, orch: Orch, how: str, number: signal.Signals, code: int
) -> None:
    mark = f"TRACED_MARK_{os.getpid()}_{time.monotonic_ns()}"
    root = project(
        {"a.csv": "1\n", "src/busy.py": BUSY_TOOL.format(seconds=300, body=indented(BUSY[how]))}
    )
    with running(root, "run", **{mark: "1"}) as run:
        run.wait_for("begun")
        run.send(number)
        assert run.wait() == code, run.text
    assert "Traceback" not in run.text
    assert is_gone(int((root / "pid").read_text()))
    wait_until(lambda: not find_marked(mark), "the end of all processes")
    (tool,) = orch("status", "--json").json["tools"]
    assert tool["last_status"] == "interrupted"


@pytest.mark.parametrize("how", slow_but(["native code", "children"], BUSY))
def test_a_timeout_ends_a_tool_whose_processes_open_files_all_the_time(
    project: Project, how: str
) -> None:
    mark = f"TRACED_MARK_{os.getpid()}_{time.monotonic_ns()}"
    root = project(
        {"a.csv": "1\n", "src/busy.py": BUSY_TOOL.format(seconds=1, body=indented(BUSY[how]))}
    )
    with running(root, "run", "--json", **{mark: "1"}) as run:
        assert run.wait() == 1, run.text
    (end,) = (
        event
        for event in map(json.loads, run.text.splitlines())
        if event["event"] == "tool_finished"
    )
    assert end["error"]["kind"] == "timeout", end
    wait_until(lambda: not find_marked(mark), "the end of all processes")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_nothing_outlives_orch_that_is_ended_while_files_are_opened(
    project: Project, number: signal.Signals
) -> None:
    """Whoever waits for an answer from the process that is gone goes on, or is ended too."""
    mark = f"TRACED_MARK_{os.getpid()}_{time.monotonic_ns()}"
    root = project(
        {
            "a.csv": "1\n",
            "src/busy.py": BUSY_TOOL.format(seconds=300, body=indented(BUSY["children"])),
        }
    )
    with running(root, "run", **{mark: "1"}) as run:
        run.wait_for("begun")
        run.send(number)
        run.wait()
    wait_until(lambda: not find_marked(mark), "the end of all processes")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_tool_goes_on_after_orch_was_stopped_for_seconds_while_files_are_opened(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "a.csv": "1\n",
            "b.csv": "1\n",
            "src/reads.py": """
                import subprocess
                STAGE = "s"
                def run():
                    subprocess.run(["true"], check=True)
                    print("begun", flush=True)
                    script = "for i in 1 2 3 4 5 6 7 8 9; do for j in 1 2 3 4 5 6 7 8 9; do read line < a.csv; done; cat b.csv; done"
                    text = subprocess.check_output(["sh", "-c", f"{script}; {script}"], text=True)
                    assert text == "1\\n" * 18, text
                """,
        }
    )
    with running(root, "run") as run:
        run.wait_for("begun")
        os.kill(run.pid, signal.SIGSTOP)
        stopped = time.monotonic()
        wait_until(lambda: time.monotonic() > stopped + 5, "five seconds")
        os.kill(run.pid, signal.SIGCONT)
        assert run.wait() == 0, run.text
    for path in ("a.csv", "b.csv"):
        assert stale_after(orch, root / path, "2\n") == {"reads": [f"{path} changed"]}


# ---- many processes, few descriptors, two runs ----


def test_64_processes_that_open_files_at_once_are_all_seen(project: Project, orch: Orch) -> None:
    numbers = range(64)
    root = project(
        {
            **{f"in/{number}.csv": f"{number}\n" for number in numbers},
            "src/reads.py": """
                import subprocess
                STAGE = "s"
                def run():
                    commands = ["for i in 1 2 3 4 5 6 7 8; do cat in/%d.csv; done" % number for number in range(64)]
                    children = [subprocess.Popen(["sh", "-c", one], stdout=subprocess.PIPE, text=True) for one in commands]
                    texts = [child.communicate()[0] for child in children]
                    assert texts == [f"{number}\\n" * 8 for number in range(64)]
                """,
        }
    )
    with running(root, "run") as run:
        assert run.wait() == 0, run.text
    assert reasons(orch) == {}
    for number in (0, 17, 63):
        found = stale_after(orch, root / f"in/{number}.csv", "x")
        assert found == {"reads": [f"in/{number}.csv changed"]}


def test_with_64_descriptors_a_run_goes_on(project: Project, orch: Orch) -> None:
    root = project(
        {
            "a.csv": "1\n",
            "src/reads.py": """
                import subprocess
                STAGE = "s"
                def run():
                    children = [subprocess.Popen(["sh", "-c", "cat a.csv; cat a.csv"], stdout=subprocess.DEVNULL) for _ in range(40)]
                    assert not any([child.wait() for child in children])
                """,
        }
    )
    prefix = ["sh", "-c", 'ulimit -n 64 && exec "$@"', "sh"]
    answer = run_orch(root, "run", prefix=prefix)
    assert answer.code == 0, answer.text
    assert stale_after(orch, root / "a.csv", "2\n")["reads"] == ["a.csv changed"]


def test_two_runs_side_by_side_of_two_projects_see_their_own_files(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    with Gate() as gate:
        tool = f"""
import subprocess
STAGE = "s"
{gate.code}
def run():
    subprocess.run("cat a.csv > b.csv", shell=True, check=True)
    wait_at_gate()
    subprocess.run("cat c.csv >> b.csv", shell=True, check=True)
"""
        files = {"orch.toml": "", "a.csv": "1\n", "c.csv": "1\n", "src/reads.py": tool}
        one = project(files)
        two = tmp_path / "two"
        write_files(two, files)
        with running(one, "run") as first, running(two, "run") as second:
            gate.wait_for(2)
            gate.open()
            assert first.wait() == 0, first.text
            assert second.wait() == 0, second.text
    for root in (one, two):
        assert reasons(orch, "-C", str(root)) == {}
        for path in ("a.csv", "c.csv"):
            found = stale_after(orch, root / path, "2\n", "-C", str(root))
            assert found == {"reads": [f"{path} changed"]}


# ---- programs that look into other programs ----

TOOLS = {
    "strace": "['strace', '-f', '-o', '/dev/null', 'cat', 'a.csv']",
    "gdb": "['gdb', '-q', '-batch', '-nx', '-ex', 'run', '--args', 'cat', 'a.csv']",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TOOLS)
def test_a_debugger_within_a_tool_works(project: Project, orch: Orch, name: str) -> None:
    find_program(name)
    root = project(
        {
            "a.csv": "content\n",
            "src/traces.py": f"""
                import subprocess
                STAGE = "s"
                def run():
                    text = subprocess.check_output({TOOLS[name]}, text=True, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
                    assert "content" in text, text
                """,
        }
    )
    with running(root, "run") as run:
        assert run.wait() == 0, run.text
    assert reasons(orch) == {}
    assert stale_after(orch, root / "a.csv", "content 2\n") == {"traces": ["a.csv changed"]}


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_debugger_that_attaches_to_a_traced_process_works(project: Project, orch: Orch) -> None:
    """As `py-spy` or `strace -p` would, from within the tool."""
    find_program("strace")
    root = project(
        {
            "a.csv": "content\n",
            "src/traces.py": """
                import os, signal, subprocess
                STAGE = "s"
                def run():
                    child = subprocess.Popen(["sh", "-c", "read line; cat a.csv"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                    tracer = subprocess.Popen(["strace", "-p", str(child.pid)], stderr=subprocess.PIPE, text=True)
                    assert "attached" in tracer.stderr.readline()
                    text, _ = child.communicate("\\n")
                    assert text == "content\\n"
                    tracer.communicate()
                """,
        }
    )
    with running(root, "run") as run:
        assert run.wait() == 0, run.text
    assert stale_after(orch, root / "a.csv", "content 2\n") == {"traces": ["a.csv changed"]}


@pytest.mark.slow
def test_coverage_within_a_tool_works(project: Project, orch: Orch) -> None:
    pytest.importorskip("coverage", reason="coverage is not installed")
    root = project(
        {
            "a.csv": "content\n",
            "src/lib.py": "def read():\n    with open('a.csv') as file:\n        return file.read()\n",
            "src/measures.py": """
                import coverage
                STAGE = "s"
                def run():
                    measuring = coverage.Coverage(data_file=None)
                    with measuring.collect():
                        from src.lib import read
                        assert read() == "content\\n"
                    assert any(path.endswith("lib.py") for path in measuring.get_data().measured_files())
                """,
        }
    )
    with running(root, "run") as run:
        assert run.wait() == 0, run.text
    assert reasons(orch) == {}
    assert stale_after(orch, root / "a.csv", "2") == {"measures": ["a.csv changed"]}


# ---- users and their rights ----

READS = """
    import os, subprocess
    STAGE = "s"
    def run():
        text = subprocess.check_output(["cat", "a.csv"], text=True)
        with open("b.csv", "w") as file:
            file.write(f"{os.geteuid()} {text}")
    """
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up rights")


def another_user(*, may_read_all: bool = True) -> list[str]:
    """The command before one of a user who is not root. He may read all files, as Python's may be root's alone."""
    prefix = [find_program("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    reading = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return [*prefix, *reading] if may_read_all else prefix


@contextlib.contextmanager
def project_of(user: int) -> Iterator[Path]:
    """A project that the user owns, in a folder that it can reach: those of the tests are for one user alone."""
    with tempfile.TemporaryDirectory(prefix="orch-user-", dir="/tmp") as home:
        root = Path(home, "project")
        write_files(root, {"a.csv": "1\n", "c.csv": "1\n", "src/reads.py": READS})
        for path in (Path(home), *Path(home).rglob("*")):
            os.chown(path, user, user)
        yield root


def expect_traced(root: Path, prefix: Sequence[str]) -> None:
    """A run behind the prefix works, and an edit of what its child has read makes the tool stale."""
    env = {"HOME": str(root.parent), "PYTHONDONTWRITEBYTECODE": "1"}

    def status() -> list[str]:
        answer = run_orch(root, "status", "--json", env=env, prefix=prefix)
        assert answer.code == 0, answer.text
        (tool,) = answer.json["tools"]
        found: list[str] = tool["reasons"]
        return found

    answer = run_orch(root, "run", env=env, prefix=prefix)
    assert answer.code == 0, answer.text
    assert status() == []
    (root / "a.csv").write_text("2\n")
    assert status() == ["a.csv changed"]
    (root / "a.csv").write_text("1\n")
    (root / "c.csv").write_text("2\n")
    assert status() == []
    told = run_orch(root, "status", "reads", env=env, prefix=prefix)
    assert "not observed" not in told.text


@needs_root
def test_a_user_without_rights_has_its_tools_traced() -> None:
    with project_of(NOBODY) as root:
        expect_traced(root, another_user())
        assert (root / "b.csv").read_text() == f"{NOBODY} 1\n"


PICTURE = """
    import os, subprocess, tempfile
    STAGE = "s"
    def run():
        with tempfile.TemporaryDirectory() as profile:
            sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
            subprocess.run([PROGRAM, "--headless", *sandbox, f"--user-data-dir={profile}", "--disable-gpu",
                "--screenshot=" + os.path.abspath("page.png"), "file://" + os.path.abspath("page.html")],
                check=True, timeout=120, stderr=subprocess.DEVNULL)
        with open("page.png", "rb") as file:
            assert file.read(4)[1:] == b"PNG"
    """


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("user", [NOBODY, os.geteuid()])
def test_chromium_within_a_tool_makes_its_picture(user: int) -> None:
    """As root it has no sandbox; for another user it makes one of its own, with filters beside the trace's."""
    program = find_program("chromium", "chromium-browser", "google-chrome")
    if user != os.geteuid() and os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with project_of(user) as root:
        (root / "src/reads.py").write_text(dedent(PICTURE).replace("PROGRAM", repr(program)))
        (root / "page.html").write_text("<h1>Hello</h1>")
        prefix = another_user() if user != os.geteuid() else []
        env = {"HOME": str(root.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        answer = run_orch(root, "run", env=env, prefix=prefix)
        assert answer.code == 0, answer.text

        def is_fresh() -> bool:
            return run_orch(root, "status", "--exit-code", env=env, prefix=prefix).code == 0

        assert is_fresh()
        (root / "page.html").write_text("<h1>Goodbye</h1>")
        assert not is_fresh()
        (root / "page.html").write_text("<h1>Hello</h1>")
        assert is_fresh()


@needs_root
@pytest.mark.parametrize("rights", ["-sys_admin", "-all"])
def test_root_with_fewer_rights_as_in_a_container_has_its_tools_traced(
    project: Project, rights: str
) -> None:
    prefix = [find_program("setpriv"), f"--bounding-set={rights}", "--inh-caps=-all"]
    root = project({"a.csv": "1\n", "c.csv": "1\n", "src/reads.py": READS})
    expect_traced(root, prefix)


def test_below_another_listener_a_run_goes_on_and_says_why_it_is_not_traced(
    project: Project,
) -> None:
    root = project(
        {
            "orch.toml": "",
            "a.csv": "1\n",
            "src/first.py": "STAGE = 's'\ndef run():\n    with open('first.txt', 'w') as file: file.write(open('a.csv').read())\n",
            "src/second.py": f'{dedent(READS)}\nAFTER = "first"\n'.replace(
                '"a.csv"', '"first.txt"'
            ),
        }
    )
    prefix = [sys.executable, "-I", refused_trace.__file__]
    answer = run_orch(root, "run", prefix=prefix)
    assert answer.code == 0, answer.text
    again = run_orch(root, "run", "--changed", "--json", prefix=prefix)
    assert again.code == 0, again.text
    assert not [event for event in again.events if event["event"] == "tool_started"]
    told = run_orch(root, "status", "second", prefix=prefix)
    assert "untraced (another program traces it" in told.text, told.text
    assert "second" in run_orch(root, "check", prefix=prefix).text
    (root / "a.csv").write_text("2\n")
    stale = [one["name"] for one in run_orch(root, "status", "--json").json["tools"] if one["state"] != "fresh"]  # fmt: skip
    assert stale == ["first", "second"]
    changed = run_orch(root, "run", "--changed", prefix=prefix)
    assert changed.code == 0, changed.text
    assert (root / "b.csv").read_text().endswith(" 2\n")


@needs_root
def test_a_failed_tool_whose_child_ran_a_setuid_program_names_the_way_out() -> None:
    """Without rights the kernel traces only what gains no rights by itself."""
    prefix = another_user()
    with project_of(NOBODY) as root:
        program = root.parent / "whoami"
        shutil.copy(find_program("id"), program)
        os.chown(program, 0, 0)
        program.chmod(0o4755)
        tool = f"""
            import subprocess
            STAGE = "s"
            def run():
                text = subprocess.check_output([{str(program)!r}, "-u"], text=True)
                assert text == "0\\n", text
            """
        (root / "src/reads.py").write_text(dedent(tool))
        env = {"HOME": str(root.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        untraced = subprocess.run(
            [*another_user(may_read_all=False), program, "-u"], check=True, capture_output=True
        )
        if untraced.stdout != b"0\n":
            pytest.skip("no program gains rights here")
        answer = run_orch(root, "run", env=env, prefix=prefix)
        assert answer.code == 1, answer.text
        assert '"trace": False' in answer.text, answer.text
        (root / "src/reads.py").write_text(f'{dedent(tool)}ORCH = {{"trace": False}}\n')
        answer = run_orch(root, "run", env=env, prefix=prefix)
        assert answer.code == 0, answer.text


# ---- what the trace itself may cost ----


@pytest.mark.slow
def test_a_tool_that_opens_many_files_is_not_much_slower_than_without_a_trace(
    project: Project,
) -> None:
    """A bound far above what is measured in the benchmarks: no answer waits for a time to pass."""
    root = project(
        {
            "a.csv": "1\n",
            "src/opens.py": """
                import subprocess
                STAGE = "s"
                def run():
                    script = "i=0; while [ $i -lt 20000 ]; do read line < a.csv; i=$((i+1)); done"
                    subprocess.run(["sh", "-c", script], check=True)
                """,
        }
    )
    soft = resource.getrusage(resource.RUSAGE_CHILDREN)
    before = time.monotonic()
    with running(root, "run") as run:
        assert run.wait() == 0, run.text
    assert time.monotonic() - before < 20
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - soft.ru_utime < 15
