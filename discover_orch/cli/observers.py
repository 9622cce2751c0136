"""Reports a run elsewhere than on the terminal: in files, to GitHub Actions, to the command of `--on-failure`.

Imported only when an option or the environment asks for one of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence

from discover_orch.cli.console import Console, is_on_github
from discover_orch.cli.options import OutputOptions
from discover_orch.cli.run_outputs import (
    OutputFile,
    RunOutput,
    local_text,
    new_format,
    open_files,
)
from discover_orch.execution.events import Event, Report, RunFinished, refused_summary, run_summary
from discover_orch.model.errors import ExitCode, OrchError, Problem
from discover_orch.planning.plan import Plan
from discover_orch.planning.project_view import ProjectView
from discover_orch.render.github import failure_annotations, problem_annotations, step_summary

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
WORKSPACE = "GITHUB_WORKSPACE"


class RunObservers:
    """The observers of one run: `open`, then `begin`, `add` for each event, `end`. Or `refuse`, then `end`."""

    def __init__(self, console: Console, options: OutputOptions, view: ProjectView) -> None:
        self._console, self._options = console, options
        self._view, self._plan = view, Plan()
        self._files: dict[str, OutputFile] = {}
        self._formats: dict[str, RunOutput] = {}
        self._start, self._began = time.time(), time.monotonic()
        self._report = Report()
        self._has_ended = False
        self._summary: dict[str, object] | None = None

    def open(self) -> None:
        """Opens the files. Raises UsageError for one that cannot be written."""
        self._start, self._began = time.time(), time.monotonic()
        self._files = open_files(self._options.files)

    def begin(self, view: ProjectView, plan: Plan) -> None:
        self._view, self._plan = view, plan
        self._formats = {
            option: new_format(option, view, plan, self._report, self._start)
            for option in self._files
        }

    def add(self, event: Event) -> list[Problem]:
        """Warnings for what cannot be written any more."""
        self._report.add(event)
        self._has_ended |= isinstance(event, RunFinished)
        now = self._start + time.monotonic() - self._began  # never goes back
        written = (
            self._files[option].write(one.add(event, now)) for option, one in self._formats.items()
        )
        return [problem for problem in written if problem is not None]

    def refuse(self, targets: Sequence[str], problems: Sequence[Problem], exit_code: int) -> None:
        """The run does not start. JUnit shows why; the other formats have nothing to show. A run that is in progress
        may be writing the same files."""
        if not self._files and not any(one.code == "locked" for one in problems):
            with contextlib.suppress(OrchError):
                self.open()
        if "--junit" in self._files:
            from discover_orch.render.junit import refused_document

            self._formats.pop("--junit", None)
            self._files["--junit"].write(refused_document(problems, local_text(self._start)))
        root = self._view.project.root
        self._summary = refused_summary(root, targets, problems, exit_code)
        if is_on_github():
            show_problems_on_github(self._console, problems, root)

    def end(self) -> None:
        """Completes the files, shows the run on GitHub, and calls the command if the run failed. A run that was
        interrupted, or whose output was closed, has not failed."""
        if self._has_ended:
            if is_on_github():
                self._show_on_github()
            if self._report.exit_code == ExitCode.FAILED:
                self._summary = run_summary(self._view.project.root, self._plan, self._report)
        else:
            self.add(RunFinished(status="interrupted", duration=0.0))
        for one in self._files.values():
            one.close()
        if self._options.on_failure is not None and self._summary is not None:
            _call(self._options.on_failure, self._summary, self._console)

    def _show_on_github(self) -> None:
        root, console = self._view.project.root, self._console
        folder = _folder_in_repository(root)
        console.command(problem_annotations(self._report.problems, folder))
        console.command(failure_annotations(self._report, self._plan, folder))
        path = os.environ.get(STEP_SUMMARY)
        if not path:
            return
        text = step_summary(self._report, self._plan, os.path.basename(root) or "orch")
        try:
            with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        except OSError as error:
            message = f"cannot write the summary of the step: {path}: {error.strerror}"
            console.problems([_warning(message)])


def show_problems_on_github(console: Console, problems: Sequence[Problem], root: str) -> None:
    """Annotations go to stderr, which GitHub reads too, so that stdout holds only what was asked for."""
    console.command(problem_annotations(problems, _folder_in_repository(root)))


def _folder_in_repository(root: str) -> str:
    workspace = os.environ.get(WORKSPACE)
    if not workspace:
        return ""
    folder = os.path.relpath(os.path.realpath(root), os.path.realpath(workspace))
    return "" if folder.startswith("..") else folder.replace(os.sep, "/")


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
    return Problem(code="observer", message=message, severity="warning")
