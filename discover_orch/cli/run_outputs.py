"""The files that a run writes for other tools: `--junit`, `--trace` and `--openlineage`.

Each file is opened before the run starts and stays open: one that cannot be written refuses the run, and no tool is
seen to have written it. Nothing that happens later, such as a full disk, stops the run.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Mapping
from typing import Protocol

from discover_orch import __version__
from discover_orch.discovery.registry import uses_get_connection
from discover_orch.execution.events import Event, Report
from discover_orch.model.database_url import masked_url
from discover_orch.model.errors import Problem, UsageError
from discover_orch.planning.plan import Plan
from discover_orch.planning.project_view import ProjectView
from discover_orch.state.store import write_all

#: The namespace of jobs, as the clients of OpenLineage take it from the environment.
LINEAGE_NAMESPACE = "OPENLINEAGE_NAMESPACE"
_EXAMPLES = {
    "--junit": "junit.xml",
    "--trace": "trace.json",
    "--openlineage": "lineage.jsonl",
}


class RunOutput(Protocol):
    """A format. `now` is in seconds since 1970 and never goes back."""

    def add(self, event: Event, now: float) -> str:
        """What the file gets when this event has happened; `RunFinished` is always the last one."""


def open_files(paths: Mapping[str, str]) -> dict[str, OutputFile]:
    """The files by the options that name them. Raises UsageError for one that cannot be written."""
    files: dict[str, OutputFile] = {}
    try:
        for option, path in paths.items():
            same = next((one for one in files.values() if one.is_same(path)), None)
            if same is not None:
                message = f"{option} and {same.option} name the same file: {path}"
                hint = "give each its own file"
                raise UsageError.of("output-file", message, hint)
            files[option] = OutputFile(option, path)
    except UsageError:
        for one in files.values():
            one.close()
        raise
    return files


def new_format(
    option: str, view: ProjectView, plan: Plan, report: Report, start: float
) -> RunOutput:
    """The format that an option asks for. `start` is when the run started, and `report` has counted each event before
    the format gets it."""
    if option == "--junit":
        from discover_orch.render.junit import JunitOutput

        return JunitOutput(plan, report, local_text(start))
    if option == "--trace":
        from discover_orch.render.trace import TraceOutput

        return TraceOutput(plan, time.time() - _age())
    from discover_orch.render.openlineage import LineageSource, OpenLineageOutput

    has_own = uses_get_connection(view.registry, view.project)
    source = LineageSource(
        root=view.project.root,
        namespace=os.environ.get(LINEAGE_NAMESPACE) or "default",
        version=__version__,
        database="" if has_own else masked_url(view.project.database),
    )
    return OpenLineageOutput(plan, report, source)


class OutputFile:
    """A file that is emptied when it is opened. A pipe must have a reader."""

    def __init__(self, option: str, path: str) -> None:
        self.option, self._path = option, path
        if path == "-":
            message = f"{option} cannot write to standard output, where orch reports the run"
            hint = f"name a file, such as {option} {_EXAMPLES[option]}"
            raise UsageError.of("output-file", message, hint)
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
        try:
            if not os.path.exists(folder := os.path.dirname(path) or "."):
                os.makedirs(folder, exist_ok=True)
            # Opening a pipe without a reader would wait for one.
            self._fd = os.open(path, flags | os.O_NONBLOCK, 0o644)
            os.set_blocking(self._fd, True)
            self._stat = os.fstat(self._fd)
        except (OSError, ValueError) as error:
            raise _unwritable(option, path, error) from None
        if self._is_standard_output():
            self.close()
            message = f"{option} names the file that standard output goes to: {path}"
            hint = "name another file"
            raise UsageError.of("output-file", message, hint)
        if stat.S_ISREG(self._stat.st_mode):
            os.ftruncate(self._fd, 0)

    def _is_standard_output(self) -> bool:
        """Whether both would write to the same places of a file."""
        try:
            return stat.S_ISREG(self._stat.st_mode) and os.path.samestat(self._stat, os.fstat(1))
        except OSError:  # standard output is closed
            return False

    def is_same(self, path: str) -> bool:
        try:
            return os.path.samestat(self._stat, os.stat(path)) and stat.S_ISREG(self._stat.st_mode)
        except (OSError, ValueError):
            return False

    def write(self, text: str) -> Problem | None:
        """A warning, the first time that the file cannot be written."""
        if not text or self._fd < 0:
            return None
        try:
            write_all(self._fd, text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            self.close()
            message = f"the {self.option} file is incomplete: {self._path}: {error.strerror}"
            return Problem(code="output-file", message=message, severity="warning")
        return None

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _unwritable(option: str, path: str, error: Exception) -> UsageError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    hint = "name a file in a folder that can be written"
    if isinstance(error, OSError) and error.errno == errno.ENXIO:
        reason, hint = "nothing reads from this pipe", "start the reader first"
    message = f"cannot write the {option} file: {path}: {reason}"
    return UsageError.of("output-file", message, hint)


def _age() -> float:
    """Seconds since this process started; 0.0 where the system does not say."""
    from discover_orch.state.lock import read_start

    ticks = read_start(os.getpid())
    if ticks is None or not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return max(0.0, age)


def local_text(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))
