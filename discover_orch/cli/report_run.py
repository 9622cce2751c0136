"""Reports a run elsewhere than on the terminal, once it has ended: in the files of `--junit`, `--trace` and
`--openlineage`, to GitHub Actions, and to the command of `--on-failure`.

All of it is made from the record of the run, so `orch report` writes the same files of a run of the past. Imported
only when an option or the environment asks for it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import to_builtins

from discover_orch import __version__
from discover_orch.cli.console import Console, is_on_github
from discover_orch.cli.file_output import STANDARD_OUTPUT, write_file
from discover_orch.model.errors import ExitCode, OrchError, Problem, UsageError
from discover_orch.planning.plan import Plan
from discover_orch.render.github import failure_annotations, problem_annotations, step_summary
from discover_orch.render.history import build_run
from discover_orch.state.journal import timestamp
from discover_orch.state.recorded_run import RecordedNote, RunRecord, ToolRecord, read_run

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
WORKSPACE = "GITHUB_WORKSPACE"
#: The namespace of jobs, as the clients of OpenLineage take it from the environment.
LINEAGE_NAMESPACE = "OPENLINEAGE_NAMESPACE"


class RunOutputs:
    """The outputs of one run: `check`, then `lines` get those of its journal, or `note_nothing_to_do`, then `end`. Or
    `refuse`, then `end`."""

    def __init__(
        self, console: Console, root: str, files: Mapping[str, str], on_failure: str | None
    ) -> None:
        """`files` by the options that name them; `on_failure` is a command."""
        self._console, self._root, self._on_failure = console, root, on_failure
        self._wanted = files
        self._files: Mapping[str, str] = {}  # those of them that can be written
        self.lines: list[bytes] = []
        self._record: RunRecord | None = None

    def check(self) -> None:
        """Raises UsageError for a file that cannot be written."""
        empty_files(self._wanted)
        self._files = self._wanted

    def refuse(self, targets: Sequence[str], problems: Sequence[Problem], exit_code: int) -> None:
        """The run does not start. A run that is in progress may write the same files."""
        if not self._files and not any(one.code == "locked" for one in problems):
            with contextlib.suppress(OrchError):
                self.check()
        notes = tuple(RecordedNote(problem=one, at=0.0) for one in problems)
        self._note_idle(targets, status="failed", exit_code=exit_code, notes=notes)

    def note_nothing_to_do(self, plan: Plan) -> None:
        tools = tuple(
            ToolRecord(module=one.module, name=one.name, stage=one.stages[0], status="fresh")
            for one in plan.fresh
        )
        counts = {"fresh": len(tools)} if tools else {}
        self._note_idle(plan.targets, status="passed", exit_code=0, tools=tools, counts=counts)

    def _note_idle(self, targets: Sequence[str], **more: Any) -> None:
        """The run has no journal, since nothing ran."""
        self._record = RunRecord(
            run="",
            targets=tuple(targets),
            orch=__version__,
            started=timestamp(),
            began=time.time(),
            duration=0.0,
            **more,
        )

    def end(self) -> None:
        """Writes the files, shows the run on GitHub, and calls the command if the run failed. One that was terminated
        has: a scheduler gave it up. One that the user interrupted, or whose output was closed, has not."""
        record = self._record or read_run(self.lines, lambda *_: False)
        if record is None:
            return
        for option, path in self._files.items():
            self._write(option, path, format_text(option, record, self._root))
        if is_on_github():
            self._show_on_github(record)
        code = record.exit_code or 0
        has_failed = 0 < code < ExitCode.HANGUP or code == ExitCode.TERMINATED
        if self._on_failure is not None and has_failed:
            run = to_builtins(build_run(record))
            summary = {"version": 1, "root": self._root, **run}
            _call(self._on_failure, summary, self._console)

    def _write(self, option: str, path: str, text: str) -> None:
        try:
            write_file(path, text)
        except OSError as error:
            message = f"the {option} file is incomplete: {path}: {error.strerror}"
            self._console.problems([_warning(message)])

    def _show_on_github(self, record: RunRecord) -> None:
        root, console = self._root, self._console
        show_problems_on_github(console, [note.problem for note in record.notes], root)
        console.command(failure_annotations(record, _folder_in_repository(root)))
        path = os.environ.get(STEP_SUMMARY)
        if not path or not record.tools:
            return
        text = step_summary(record, os.path.basename(root) or "orch")
        try:
            with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        except OSError as error:
            message = f"cannot write the summary of the step: {path}: {error.strerror}"
            console.problems([_warning(message)])


# Files.


def format_text(option: str, record: RunRecord, root: str) -> str:
    """The run in the format that an option asks for."""
    if option == "--junit":
        from discover_orch.render.junit import junit_text

        return junit_text(record)
    if option == "--trace":
        from discover_orch.render.trace import trace_text

        return trace_text(record)
    from discover_orch.render.openlineage import Lineage

    namespace = os.environ.get(LINEAGE_NAMESPACE) or "default"
    return Lineage(record=record, root=root, namespace=namespace).text()


def empty_files(paths: Mapping[str, str]) -> None:
    """Empties the files before a run, by the options that name them, so that nothing is left of an earlier run. Raises
    UsageError for one that cannot be written."""
    for option, path in paths.items():
        if path == STANDARD_OUTPUT:
            message = f"{option} cannot write to standard output, where orch reports the run"
            raise UsageError.of("output-file", message, f"give a file with {option} FILE")
    for option, path in paths.items():
        try:
            if os.path.isfile(path) or os.path.isdir(path) or not os.path.exists(path):
                write_file(path, "")
            else:  # a pipe must stay open, else its reader sees the end
                os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            reason, hint = error.strerror, "name a file in a folder that can be written"
            if error.errno == errno.ENXIO:
                reason, hint = "nothing reads from this pipe", "start the reader first"
            message = f"cannot write the {option} file: {path}: {reason}"
            raise UsageError.of("output-file", message, hint) from None


# GitHub.


def show_problems_on_github(console: Console, problems: Sequence[Problem], root: str) -> None:
    """Annotations go to stderr, which GitHub reads too, so that stdout holds only what was asked for."""
    console.command(problem_annotations(problems, _folder_in_repository(root)))


def _folder_in_repository(root: str) -> str:
    workspace = os.environ.get(WORKSPACE)
    if not workspace:
        return ""
    folder = os.path.relpath(os.path.realpath(root), os.path.realpath(workspace))
    return "" if folder.startswith("..") else folder.replace(os.sep, "/")


# The command.


def _call(command: str, summary: Mapping[str, object], console: Console) -> None:
    """Has the shell run the command with the summary on its standard input. What it prints goes to stderr, so that
    stdout holds only what the run printed. Whatever the command does, the exit code of the run stays."""
    text = json.dumps(summary) + "\n"
    try:
        # Descriptor 2 is the terminal or the pipe of orch; with stderr closed there is none.
        done = subprocess.run(
            command, shell=True, input=text, text=True, encoding="utf-8", stdout=2, check=False
        )
    except KeyboardInterrupt:
        console.problems([_warning("the --on-failure command was interrupted")])
        return
    except (OSError, ValueError) as error:
        console.problems([_warning(f"the --on-failure command could not be started: {error}")])
        return
    if done.returncode:
        code = done.returncode
        how = f"exited with {code}" if code > 0 else f"was ended by signal {-code}"
        console.problems([_warning(f"the --on-failure command {how}")])


def _warning(message: str) -> Problem:
    return Problem(code="output", message=message, severity="warning")
