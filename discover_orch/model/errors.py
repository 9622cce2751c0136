"""What can be wrong, and how to fix it.

A user can have several problems at once, so a `Problem` is a value: problems are gathered and shown together. An
`OrchError` ends the command and carries problems. A tool that fails is neither: it has a `Failure`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal, Self

from msgspec import Struct
from msgspec.structs import replace

Severity = Literal["error", "warning", "note"]


class ExitCode(IntEnum):
    """The exit code of the process; 129, 130 and 143 are 128 + SIGHUP, SIGINT and SIGTERM."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INTERNAL = 3
    DISCOVERY = 4
    EMPTY = 5
    HANGUP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class Location(Struct, frozen=True, kw_only=True):
    """A place in a file: `path` relative to the root with `/`, `line` from 1."""

    path: str
    line: int | None = None

    def __str__(self) -> str:
        return self.path if self.line is None else f"{self.path}:{self.line}"


class Problem(Struct, frozen=True, kw_only=True):
    """One thing that is wrong: what, where, and how to fix it.

    `path` is relative to the root, and `line` counts from 1; `message` is one line without the place; `hint` says how
    to fix it, or is empty; `code` is a stable short word for programs (`"syntax"`, `"unknown-target"`); `source` is
    the text of the line where that helps.
    """

    path: str | None = None
    line: int | None = None
    message: str
    hint: str = ""
    code: str
    severity: Severity = "error"
    source: str = ""

    @property
    def location(self) -> Location | None:
        return None if self.path is None else Location(path=self.path, line=self.line)

    def at(self, place: Location | None) -> Problem:
        """The same problem at this place."""
        return replace(self, path=place and place.path, line=place and place.line)


class Failure(Struct, frozen=True, kw_only=True):
    """Why a tool, or the closing of a resource, failed.

    `kind` is `exception`, `exit` (it called `sys.exit`), `timeout`, `outputs` (a declared output is missing), `check`
    (one of its checks failed) or `crash` (its process ended). `type` is the name of the exception class or of the
    signal. `path` (relative to the root) and `line`: the last frame of the user's own code. `traceback` is text.
    """

    kind: str
    type: str
    message: str
    path: str | None = None
    line: int | None = None
    traceback: str = ""
    hint: str = ""


class OrchError(Exception):
    """What orch refuses: `problems` say why. On the command line it ends the command with its exit code."""

    exit_code = ExitCode.USAGE

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems

    @classmethod
    def of(cls, code: str, message: str, hint: str = "", location: Location | None = None) -> Self:
        """The error with this one problem."""
        return cls(Problem(code=code, message=message, hint=hint).at(location))


class UsageError(OrchError):
    """The command line asks for something that does not exist or does not fit."""


class ProjectError(OrchError):
    """The configuration is wrong, or there is no such project."""


class DiscoveryError(OrchError):
    """The source does not say what the requested tools are; nothing ran."""

    exit_code = ExitCode.DISCOVERY


class EmptyError(OrchError):
    """Nothing is selected, or the project has no tool."""

    exit_code = ExitCode.EMPTY


def nearest(word: str, candidates: object, *, similarity: float = 0.6) -> str | None:
    """The candidate that `word` was most likely meant to be; None below this similarity, unless only the case differs.
    The default is difflib's."""
    import difflib

    names = [str(name) for name in candidates]  # type: ignore[attr-defined]
    found = difflib.get_close_matches(word, names, n=1, cutoff=similarity)
    found = found or [name for name in names if name.lower() == word.lower()]
    return found[0] if found else None


def did_you_mean(word: str, candidates: object, otherwise: str = "") -> str:
    """The hint that names the nearest candidate, else `otherwise`."""
    found = nearest(word, candidates)
    return f'did you mean "{found}"?' if found else otherwise


class BlockedInterrupt(BaseException):
    """A signal that ends the process came while a write to a pipe was blocked.

    The reader of the pipe has stopped reading, so this is neither an Exception nor a KeyboardInterrupt: their handlers
    would write again. `number` is the number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


_TOOL = 'a module under src with STAGE = "..." and run(), or a .sql file with -- STAGE: ...'
NO_TOOLS = Problem(
    code="no-tools",
    message="no tools found",
    hint=f"a tool is {_TOOL}; orch list -v shows which modules are not tools, and why",
)
#: The same where the modules that are not tools have been shown.
NO_TOOLS_AT_ALL = Problem(code="no-tools", message="no tools found", hint=f"a tool is {_TOOL}")


def no_source(root: str, config: str) -> Problem:
    """There is no folder to scan. `config` is the file that can name another one."""
    return Problem(
        code="no-source",
        message=f"no tools found: there is no folder src in {root}",
        hint=f'orch init starts a project; for another folder than src, set packages = ["FOLDER"] in {config}',
    )
