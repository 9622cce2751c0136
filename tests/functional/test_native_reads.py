"""What child processes and native code read and write while another worker runs.

What they do one after another is in `tests/scenes/native.scene`.
"""

from __future__ import annotations

import sys

import pytest

from tests.conftest import Orch, Project
from tests.support.remembered import change, reasons
from tests.support.running import running

pytestmark = pytest.mark.slow

needs_kernel_events = pytest.mark.skipif(
    sys.platform != "linux", reason="what native code does is seen on Linux only"
)


@needs_kernel_events
def test_what_another_worker_writes_at_the_same_time_is_not_what_a_tool_wrote(
    project: Project, orch: Orch
) -> None:
    """All three tools have the kernel's events, and each writes while the others run."""
    names = ("one", "two", "three")
    body = """
        import os, subprocess, sys, time
        STAGE = "s"
        AFTER = ()
        def meet(kind, run):
            open(f"../{kind}-{run}-NAME", "w").close()
            deadline = time.monotonic() + 60
            while not all(os.path.exists(f"../{kind}-{run}-{one}") for one in ALL):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        def run(*, number: int):
            subprocess.run([sys.executable, "-c", ""], check=True)
            meet("began", number)
            open("NAME.txt", "w").close()
            meet("wrote", number)
        """
    project(
        {
            "orch.toml": "jobs = 3\n",
            **{
                f"src/{one}.py": body.replace("NAME", one).replace("ALL", str(names))
                for one in names
            },
        }
    )
    for number in ("1", "2", "3"):
        assert orch("run", "--number", number).code == 0
        tools = orch("status", "--json", "--number", number).json["tools"]
        assert {tool["name"]: tool["state"] for tool in tools} == dict.fromkeys(names, "fresh")
    assert "by a library" not in orch("status", "one").out


@pytest.mark.slow
@needs_kernel_events
def test_what_another_worker_reads_at_the_same_time_is_no_input_of_a_tool_that_is_known(
    project: Project, orch: Orch
) -> None:
    """Of a tool that has always run beside others it is not known: what both may have read counts for both."""
    body = """
        import ctypes, numpy, os, time
        STAGE = "s"
        AFTER = ()
        def read(name):
            libc, buffer = ctypes.CDLL(None), ctypes.create_string_buffer(10)
            file = libc.open(name.encode(), 0)
            libc.read(file, buffer, 10)
            libc.close(file)
        def meet(kind):
            open(f"../{kind}-{os.environ['TURN']}-NAME", "w").close()
            deadline = time.monotonic() + 60
            while not all(os.path.exists(f"../{kind}-{os.environ['TURN']}-{one}") for one in ALL):
                assert time.monotonic() < deadline
                time.sleep(0.005)
        def run():
            if "TURN" in os.environ: meet("began")
            open("NAME.csv").close()
            read("NAME.dat")
            read("both.dat")
            if "TURN" in os.environ: meet("read")
        """
    names = ("one", "two")
    root = project(
        {
            "orch.toml": "",
            "both.dat": "x",
            **{f"{one}.{end}": "x" for one in names for end in ("csv", "dat")},
            **{
                f"src/{one}.py": body.replace("NAME", one).replace("ALL", str(names))
                for one in names
            },
        }
    )
    how = {"env": {"TURN": "1"}}
    assert orch("run", "--jobs", "2", **how).code == 0
    for path, least in (("both.dat", {*names}), ("one.dat", {"one"}), ("two.csv", {"two"})):
        change(root / path, "x", "y")
        assert least <= {*reasons(orch, **how)}, path  # nothing is lost
        change(root / path, "y", "x")
    assert orch("run").code == 0  # one after the other
    for turn in ("2", "3"):
        how = {"env": {"TURN": turn}}
        assert orch("run", "--jobs", "2", **how).code == 0
        for path, tools in (("one.csv", ["one"]), ("two.dat", ["two"]), ("both.dat", [*names])):
            change(root / path, "x", "y")
            assert sorted(reasons(orch, **how)) == tools, (turn, path, reasons(orch, **how))
            change(root / path, "y", "x")


@needs_kernel_events
def test_a_new_file_that_a_known_tool_reads_beside_another_one_is_its_input(
    project: Project, orch: Orch
) -> None:
    """Only the kernel sees it, and the other tool ends first."""
    body = """
        import ctypes, numpy, os, time
        STAGE = "s"
        AFTER = ()
        def wait(name):
            deadline = time.monotonic() + 60
            while not os.access.__wrapped__(name, os.F_OK):
                assert time.monotonic() < deadline
                time.sleep(0.005)
        def run():
            open("NAME.csv").close()
            if "TURN" in os.environ:
                TOGETHER
        """
    read = """libc, buffer = ctypes.CDLL(None), ctypes.create_string_buffer(10)
                file = libc.open(b"new.dat", 0)
                libc.read(file, buffer, 10)
                libc.close(file)
                open("../read", "w").close()
                wait("../ended")"""
    other = """open("../began", "w").close()
                wait("../read")"""
    root = project(
        {
            "orch.toml": "",
            **{f"{one}.csv": "x" for one in ("first", "reads")},
            "src/first.py": body.replace("NAME", "first").replace("TOGETHER", other),
            "src/reads.py": body.replace("NAME", "reads").replace("TOGETHER", read),
        }
    )
    assert orch("run").code == 0  # one after the other
    (root / "new.dat").write_text("x")
    how = {"env": {"TURN": "1"}}
    with running(root, "run", "--jobs", "2", "--json", **how["env"]) as run:
        run.wait_for('"tool_finished"')
        (root.parent / "ended").touch()
        assert run.wait() == 0, run.text
    change(root / "new.dat", "x", "y")
    assert "reads" in reasons(orch, **how)


@needs_kernel_events
def test_what_another_worker_writes_while_a_module_is_loaded_is_no_input_of_later_tools(
    project: Project, orch: Orch
) -> None:
    """`later` takes `conn`, which `loads` has opened after its module was loaded."""
    wait = """
        def wait(name):
            deadline = time.monotonic() + 60
            while not os.access.__wrapped__(name, os.F_OK):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        """
    project(
        {
            "orch.toml": 'jobs = 2\nstages = ["one", "two"]\n',
            "side.txt": "1",
            "src/loads.py": f"""
        import os, subprocess, sys, time
        STAGE = "one"
        AFTER = ()
        {wait}
        subprocess.run([sys.executable, "-c", ""], check=True)
        open("../follows", "w").close()
        wait("../wrote")
        def run(conn):
            conn.execute("SELECT 1").fetchall()
        """,
            "src/writes.py": f"""
        import os, subprocess, time
        STAGE = "one"
        AFTER = ()
        {wait}
        def run():
            wait("../follows")
            subprocess.run("cat side.txt; echo 2 >> side.txt", shell=True, check=True)
            open("../wrote", "w").close()
        """,
            "src/later.py": "STAGE = 'two'\ndef run(conn): conn.execute('SELECT 2').fetchall()\n",
        }
    )
    assert orch("run").code == 0
    tools = {tool["name"]: tool for tool in orch("status", "--json").json["tools"]}
    assert not any("side.txt" in one for one in tools["later"]["reasons"])
