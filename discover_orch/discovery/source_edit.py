"""Changes files of the project, for commands that the user has asked to do so. Each file is replaced as a whole."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence

from msgspec import Struct

from discover_orch.model.errors import Location, Problem, ProjectError
from discover_orch.source.after_tag import add_after


class SourceEdit(Struct, frozen=True, kw_only=True):
    """The text of a file relative to the root, as it is and as it becomes."""

    path: str
    before: bytes
    after: bytes


def build_after_edit(root: str, path: str, names: Sequence[str]) -> SourceEdit | None:
    """The file with an `AFTER` of these names; None where it cannot be added."""
    try:
        with open(os.path.join(root, path), "rb") as file:
            before = file.read()
    except OSError:
        return None
    after = add_after(before, names)
    return None if after is None else SourceEdit(path=path, before=before, after=after)


def write_edit(root: str, edit: SourceEdit) -> None:
    """Raises ProjectError if the file has changed meanwhile or cannot be written."""
    full = os.path.realpath(os.path.join(root, edit.path))
    new = f"{full}.{os.getpid()}.tmp"
    try:
        with open(full, "rb") as file:
            if file.read() != edit.before:
                raise _refused(edit, "it has changed meanwhile")
        with open(new, "xb") as file:
            file.write(edit.after)
        shutil.copymode(full, new)
        os.replace(new, full)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise _refused(edit, error.strerror or str(error)) from None


def _refused(edit: SourceEdit, reason: str) -> ProjectError:
    return ProjectError(
        Problem(
            code="not-written",
            message=f"cannot write {edit.path}: {reason}",
            hint="make the file and its folder writable, and try again",
            location=Location(path=edit.path),
        )
    )
