"""Completion in the real shells, at a real terminal: what `orch completion` prints switches it on."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Orch, Project
from tests.support.project_builder import clean_environment

TIME_LIMIT = 60
PIPELINE = {
    "orch.toml": 'stages = ["ingest"]\ngroups = {"my group" = ["ingest"], "a:b" = ["ingest"]}',
    "src/fetch_orders.py": '"""Fetch the orders."""\nSTAGE = "ingest"\n'
    "def run(*, row_limit: int = 1): print('rows', row_limit)\n",
}
pytestmark = pytest.mark.slow


def find_shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def shell_environment() -> dict[str, str]:
    """`orch` of this environment comes first."""
    here = os.path.dirname(sys.executable)
    return clean_environment(PATH=f"{here}:{os.environ['PATH']}", TERM="dumb", PS1="$ ")


class Shell:
    """An interactive shell; what it has printed is gathered in `text`."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self.text = ""

    def type(self, keys: str, expected: str) -> None:
        """Presses keys and waits until what follows has `expected`."""
        start = len(self.text)
        os.write(self._terminal, keys.encode())
        deadline = time.monotonic() + TIME_LIMIT
        while expected not in self.text[start:]:
            left = deadline - time.monotonic()
            assert left > 0, f"{expected!r} did not come after {keys!r}:\n{self.text}"
            if select.select([self._terminal], [], [], left)[0]:
                self.text += os.read(self._terminal, 4096).decode(errors="replace")


@contextmanager
def interactive(words: list[str], root: Path) -> Iterator[Shell]:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(root)
        os.execve(words[0], words, shell_environment())
    try:
        yield Shell(terminal)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


@pytest.mark.parametrize(
    ("name", "options", "before"),
    [
        ("bash", ["--norc", "-i"], ""),
        ("zsh", ["-f", "-i"], "autoload -Uz compinit && compinit -u -D; "),
    ],
)
def test_the_tab_key_completes_targets_and_parameters(
    name: str, options: list[str], before: str, project: Project, orch: Orch
) -> None:
    shell = find_shell(name)
    root = project(PIPELINE)
    line = orch("completion", name).out.splitlines()[1]
    with interactive([shell, *options], root) as typed:
        typed.type(f"{before}{line}; echo switched $((40 + 2)) on\n", "switched 42 on")
        typed.type("orch run fe\t", "orch run fetch_orders ")
        typed.type("--row\t", "--row-limit ")
        typed.type("7\n", "rows 7")
        if name == "bash":  # to which click gives no name with a space or a colon as one word
            return
        typed.type("\x15orch run my\t", "orch run my\\ group ")
        typed.type("\x15orch run a:\t", "orch run a:b ")
        typed.type("\x15orch run 'my\t", "orch run 'my group' ")
        typed.type("\x15orch logs --run 1 tool:\x15orch run tool:fe\t", "tool:fetch_orders ")


def test_fish_completes_with_what_each_target_is(project: Project, orch: Orch) -> None:
    shell = find_shell("fish")
    root = project(PIPELINE)
    orch("run")
    line = orch("completion", "fish").out.splitlines()[1]
    for words, expected in (
        ("orch run fe", "fetch_orders\tFetch the orders."),
        ("orch comp", "completion\tPrint the line that switches on completion."),
        ("orch run fetch_orders --row", "--row-limit"),
        ("orch history ", "1\t"),
    ):
        done = subprocess.run(
            [shell, "--no-config", "-c", f'{line}; complete -C "{words}"'],
            cwd=root,
            env=shell_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=TIME_LIMIT,
        )
        assert expected in done.stdout, done.stdout + done.stderr
