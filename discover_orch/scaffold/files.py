"""Changes of files as values, and writing them: all of them, or none."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence

from msgspec import Struct

from discover_orch.model.conventions import SKIPPED_FOLDERS
from discover_orch.model.errors import Location, Problem, ProjectError
from discover_orch.state.store import UNFINISHED


class FileChange(Struct, frozen=True, kw_only=True):
    """A file below the root, `path` with `/`: its content before, None where it does not exist, and afterwards."""

    path: str
    old: bytes | None
    new: bytes

    @property
    def is_new(self) -> bool:
        return self.old is None


def read_file(root: str, path: str) -> bytes | None:
    """The bytes of a file below the root; None if there is none. Raises ProjectError if it cannot be read."""
    try:
        with open(os.path.join(root, path), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _cannot("read", path, error) from None


def is_searched(folder: str) -> bool:
    """Whether it may hold code of the project: it is neither hidden nor a virtual environment or made by a build."""
    name = os.path.basename(folder)
    is_skipped = name.startswith(".") or name in SKIPPED_FOLDERS
    return not is_skipped and not os.path.exists(os.path.join(folder, "pyvenv.cfg"))


def write_changes(root: str, changes: Sequence[FileChange]) -> None:
    """Writes every change. Where one cannot be written, those before it are undone and ProjectError is raised."""
    done: list[FileChange] = []
    folders: list[str] = []
    try:
        for change in changes:
            if read_file(root, change.path) != change.old:
                message, place = "the file has changed meanwhile", Location(path=change.path)
                hint = "run the command again"
                raise ProjectError(Problem(code="file", message=message, hint=hint, location=place))
            folders += _make_folders(root, os.path.dirname(change.path))
            done.append(change)
            _write(os.path.join(root, change.path), change.new)
    except BaseException as error:
        _undo(root, done, folders)
        if isinstance(error, OSError):
            raise _cannot("write", (done or changes[:1])[-1].path, error) from None
        raise


def _make_folders(root: str, folder: str) -> list[str]:
    """Makes a folder below the root and those above it; gives the ones that did not exist."""
    if not folder or os.path.isdir(os.path.join(root, folder)):
        return []
    made = _make_folders(root, os.path.dirname(folder))
    os.mkdir(os.path.join(root, folder))
    return [*made, folder]


def _write(path: str, data: bytes) -> None:
    """The file has its old content until the new one is complete. Links and permissions stay."""
    path = os.path.realpath(path)
    temporary = f"{path}.{os.getpid()}{UNFINISHED}"
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _undo(root: str, done: Sequence[FileChange], folders: Sequence[str]) -> None:
    for change in reversed(done):
        path = os.path.join(root, change.path)
        with contextlib.suppress(OSError):
            if change.old is None:
                os.unlink(path)
            else:
                _write(path, change.old)
    for folder in reversed(folders):
        with contextlib.suppress(OSError):
            os.rmdir(os.path.join(root, folder))


def _cannot(what: str, path: str, error: OSError) -> ProjectError:
    message = f"cannot {what} the file: {error.strerror or error}"
    hint = "check its permissions and those of its folder"
    place = Location(path=path)
    return ProjectError(Problem(code="file", message=message, hint=hint, location=place))
