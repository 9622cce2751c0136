"""A tool whose reads were all seen is judged by them alone: what it comes after makes it wait. What nobody could see makes
it stale with everything before it."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import pytest

from tests.conftest import Orch, Project
from tests.support.marks import slow_but
from tests.support.programs import find_program
from tests.support.remembered import reasons, run_changed

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="what child processes open is seen on Linux only"
)

FIRST = """
    STAGE = "s"
    def run():
        with open("a.csv") as file:
            text = file.read()
        with open("first.txt", "w") as file:
            file.write(text)
    """
SECOND = """
import os, socket, subprocess, sys
STAGE = "s"
AFTER = "first"
def run():
    with open("b.csv") as file:
        text = file.read()
{body}
    with open("second.txt", "w") as file:
        file.write(text)
"""


def build(project: Project, body: str) -> Path:
    lines = dedent(body).strip().splitlines()
    text = SECOND.format(body="\n".join(f"    {line}" for line in lines))
    files = {"orch.toml": "", "a.csv": "1\n", "b.csv": "1\n"}
    return project({**files, "src/first.py": FIRST, "src/second.py": text})


def stale_with_first(orch: Orch, root: Path) -> bool:
    """Whether the second tool is stale because the first one is; nothing else may be."""
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert reasons(orch) == {}
    (root / "a.csv").write_text("2\n")
    found = reasons(orch)
    assert found["first"] == ["a.csv changed"]
    assert {*found} <= {"first", "second"}
    assert "first" in run_changed(orch)
    return "second" in found


SEEN = {
    "plain Python": "",
    "a child": "subprocess.run(['cat', 'b.csv'], check=True)",
    "a Python child": "subprocess.run([sys.executable, '-c', 'open(\"b.csv\").read()'], check=True)",
    "a pipe": "subprocess.run('cat b.csv | sort | uniq > c.csv', shell=True, check=True)",
    "a pair of sockets": """
        one, other = socket.socketpair()
        one.send(b"x")
        other.recv(1)
        """,
    "a Unix socket": """
        subprocess.run(["true"], check=True)
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind("\\0orch-test-%d" % os.getpid())
            server.listen()
            client.connect(server.getsockname())
        """,
    "a port of its own": """
        subprocess.run(["true"], check=True)
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
            client.connect(server.getsockname())
        """,
    "a port of its child": """
        code = "import socket; server = socket.create_server(('127.0.0.1', 0)); print(server.getsockname()[1], flush=True); server.accept()"
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
            with socket.create_connection(("127.0.0.1", int(child.stdout.readline()))):
                pass
        """,
}


@pytest.mark.parametrize("way", slow_but(["plain Python", "a pipe", "a port of its own"], SEEN))
def test_what_is_seen_waits_for_what_it_comes_after_and_is_not_stale_for_it(
    project: Project, orch: Orch, way: str
) -> None:
    assert not stale_with_first(orch, build(project, SEEN[way]))


@contextmanager
def server_elsewhere() -> Iterator[int]:
    """A port of this process, which is none of the tool's."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            try:
                while True:
                    server.accept()[0].close()
            except OSError:
                pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


NETWORK = {
    "Python": 'socket.create_connection(("127.0.0.1", PORT)).close()',
    "Python after a child": """
        subprocess.run(["true"], check=True)
        socket.create_connection(("127.0.0.1", PORT)).close()
        """,
    "a child": """
        code = "import socket; socket.create_connection(('127.0.0.1', PORT)).close()"
        subprocess.run([sys.executable, "-c", code], check=True)
        """,
    "bash": """
        subprocess.run(["bash", "-c", "exec 3<> /dev/tcp/127.0.0.1/PORT"], check=True)
        """,
}


@pytest.mark.parametrize("way", slow_but(["Python", "bash"], NETWORK))
def test_what_a_tool_gets_from_the_network_is_not_seen(
    project: Project, orch: Orch, way: str
) -> None:
    with server_elsewhere() as port:
        assert stale_with_first(orch, build(project, NETWORK[way].replace("PORT", str(port))))


CALLS = {
    "io_uring": "ctypes.CDLL(None).syscall(425, 1, ctypes.create_string_buffer(120))",
    "open_by_handle_at": "ctypes.CDLL(None).syscall(304 if os.uname().machine == 'x86_64' else 265, -1, None, 0)",
}


@pytest.mark.parametrize("call", CALLS)
def test_a_tool_that_opens_files_past_the_trace_is_not_observed_completely(
    project: Project, orch: Orch, call: str
) -> None:
    assert stale_with_first(orch, build(project, f"import ctypes\n{CALLS[call]}"))


# `int 0x80` is the call of 32-bit programs: open(path, O_RDONLY).
OLD_C = r"""
static char path[] = "b.csv";
int main(void) {
    int file;
    __asm__ volatile("int $0x80" : "=a"(file) : "a"(5), "b"(path), "c"(0), "d"(0) : "memory");
    return file < 0;
}
"""


def test_a_32_bit_program_is_not_observed_completely(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    gcc = find_program("gcc")
    root = build(project, "subprocess.run(['bin/old'], check=True)")
    (root / "bin").mkdir()
    (tmp_path / "old.c").write_text(OLD_C)
    flags = ["-static", "-no-pie", "-w"]
    built = subprocess.run([gcc, *flags, tmp_path / "old.c", "-o", root / "bin/old"], check=False)
    if built.returncode or subprocess.run([root / "bin/old"], cwd=root, check=False).returncode:
        pytest.skip("this kernel or compiler has no 32-bit calls")
    assert stale_with_first(orch, root)


def test_declared_inputs_make_a_tool_observed_completely(project: Project, orch: Orch) -> None:
    with server_elsewhere() as port:
        root = build(project, NETWORK["Python"].replace("PORT", str(port)))
        with (root / "src/second.py").open("a") as file:
            file.write('ORCH = {"inputs": []}\n')
        assert not stale_with_first(orch, root)
