"""Changes of files as values, and writing them: all of them, or none."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence

from msgspec import Struct

from discover_orch.model.conventions import SKIPPED_FOLDERS
from discover_orch.model.errors import Location, ProjectError
from discover_orch.state.sealed_files import UNFINISHED


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


def read_text(name: str) -> str:
    """A text of this package, which ends in `.txt`, also where it is a module of the user's."""
    with open(os.path.join(os.path.dirname(__file__), f"{name}.txt"), encoding="utf-8") as file:
        return file.read()


def is_searched(folder: str) -> bool:
    """Whether it may hold code of the project: it is neither hidden nor a virtual environment or made by a build."""
    name = os.path.basename(folder)
    is_skipped = name.startswith(".") or name in SKIPPED_FOLDERS
    return not is_skipped and not os.path.exists(os.path.join(folder, "pyvenv.cfg"))


def write_changes(root: str, changes: Sequence[FileChange]) -> None:
    """Writes every change. Raises ProjectError where one cannot be written; then no file has changed, and a
    new folder may be there. Links and permissions stay."""
    # The new content in a file of its own, and the file whose place it takes.
    written: list[tuple[str, str]] = []
    path = ""
    try:
        for change in changes:
            path = change.path
            if read_file(root, path) != change.old:
                message, hint = "the file has changed meanwhile", "run the command again"
                raise ProjectError.of("file", message, hint, Location(path=path))
            target = os.path.realpath(os.path.join(root, path))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            temporary = f"{target}.{os.getpid()}{UNFINISHED}"
            with open(temporary, "xb") as file:
                written.append((temporary, target))
                file.write(change.new)
            if change.old is not None:
                shutil.copymode(target, temporary)
        for temporary, target in written:
            os.replace(temporary, target)
    except BaseException as error:
        for temporary, _ in written:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if isinstance(error, OSError):
            raise _cannot("write", path, error) from None
        raise


def _cannot(what: str, path: str, error: OSError) -> ProjectError:
    message = f"cannot {what} the file: {error.strerror or error}"
    hint = "check its permissions and those of its folder"
    return ProjectError.of("file", message, hint, Location(path=path))
