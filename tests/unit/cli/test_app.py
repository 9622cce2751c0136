"""The command itself: whatever goes wrong becomes text on stderr and an exit code of the contract."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest

from discover_orch import __version__
from discover_orch.cli.app import StdoutClosed, app, run_command_line
from discover_orch.cli.options import Context, OrchUsage
from discover_orch.cli.run_command import command as run_command
from discover_orch.model.conventions import OWN_OPTIONS
from tests.support.project_builder import write_files

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An empty current folder, no settings; standard output is given back whatever becomes of it."""
    for name in [name for name in os.environ if name.startswith("ORCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    kept = os.dup(1)
    yield
    os.dup2(kept, 1)
    os.close(kept)


def orch(*words: str, files: Mapping[str, str] | None = None) -> int:
    write_files(Path.cwd(), files or {})
    return run_command_line(words)


def ends_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code where the command raises this."""

    def main(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr(app, "main", main)
    return run_command_line(["list"])


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (click.exceptions.Exit(7), 7, ""),
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
        (BrokenPipeError(), 141, ""),
        (StdoutClosed(), 141, ""),
        (
            click.UsageError("Odd thing."),
            2,
            "error: odd thing\n  hint: orch --help shows how to use it\n",
        ),
        (OrchUsage("odd thing", "fix it"), 2, "error: odd thing\n  hint: fix it\n"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            2,
            "error: cannot write standard output: no space left on the device\n"
            "  hint: free some space, or redirect the output to another disk\n",
        ),
    ],
)
def test_each_exception_has_its_exit_code_and_message(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    assert ends_with(error, monkeypatch) == code
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize(
    "error", [ValueError("odd"), OSError(errno.EIO, "odd"), RecursionError("odd")]
)
def test_a_bug_in_orch_asks_to_be_reported(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    assert ends_with(error, monkeypatch) == 3
    told = capsys.readouterr()
    assert told.out == ""
    assert "Traceback" in told.err
    assert "odd" in told.err
    assert f"This is a bug in orch {__version__}. Please report it" in told.err


def test_a_closed_pipe_ends_quietly_even_at_the_last_flush(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def flush() -> None:
        raise BrokenPipeError

    monkeypatch.setattr(app, "main", lambda *_, **__: 0)
    monkeypatch.setattr(sys.stdout, "flush", flush)
    assert run_command_line(["list"]) == 141
    monkeypatch.undo()
    assert capsys.readouterr().err == ""


def test_a_worker_is_taken_once_and_ended_where_nobody_took_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from discover_orch.worker import spawn

    with socket.socket() as trace:
        interpreter = (1, spawn.Pipes(-1, -1, -1, -1, -1, trace))
    context = Context(interpreter)
    assert context.claim_interpreter() is interpreter
    assert context.claim_interpreter() is None
    ended: list[object] = []
    monkeypatch.setattr(spawn, "end_interpreter", ended.append)
    assert run_command_line(["nothing"], interpreter) == 2
    assert run_command_line(["--version"], interpreter) == 0
    assert run_command_line(["list"]) == 5
    assert ended == [interpreter, interpreter]


def test_own_options_are_those_of_run() -> None:
    """A flag `checks` would also need `--no-checks`."""
    taken = {
        option[2:].replace("-", "_")
        for param in run_command.params
        for option in (*param.opts, *param.secondary_opts)
        if option.startswith("--")
    }
    taken |= {"help", *(name.removeprefix("no_") for name in taken)}
    assert taken == OWN_OPTIONS
