"""Keeps a copy of an output that was edited by hand, before its tool runs again and writes over it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable

from discover_orch.model.errors import Problem
from discover_orch.staleness.fingerprint import ABSENT, EXISTS, Key
from discover_orch.staleness.rule import is_edited
from discover_orch.staleness.versions import Versions
from discover_orch.staleness.writers import Writers
from discover_orch.state.store import FOLDER

#: Below `.orch`; the copies of one run are in a folder of its own.
EDITED = "edited"
NameOf = Callable[[str], str]


def keep_edited(
    root: str,
    run: str,
    module: str,
    keys: Iterable[Key],
    writers: Writers,
    name_of: NameOf,
    until: float,
) -> list[Problem]:
    """The tool is about to run, and may write these. Copies those that were edited since a tool left them; a warning
    for each file. What has changed later than `until`, in ns, may be the work of a tool whose end is not known yet."""
    versions = Versions(root)
    found = []
    for key in keys:
        last, mark = writers.last(key), versions.mark(key)
        is_later = mark not in (ABSENT, EXISTS) and int(mark.rpartition(" ")[2]) >= until
        if last and not is_later and is_edited(key, last.write, mark, versions.version):
            sentence = f"was edited after {name_of(last.module)} made it"
            found.append(_keep(root, run, key, f"{sentence}, and {name_of(module)} runs again"))
    return found


def _keep(root: str, run: str, key: Key, why: str) -> Problem:
    path = key.partition(":")[2]
    # A path outside of the root has its whole path below the folder.
    inside = os.path.normpath(path).lstrip(os.sep).replace(f"..{os.sep}", f"_{os.sep}")
    copy = f"{FOLDER}/{EDITED}/{run}/{inside}"
    hint = f"the edited file was copied to {copy}"
    try:
        os.makedirs(os.path.dirname(os.path.join(root, copy)), exist_ok=True)
        shutil.copy2(os.path.join(root, path), os.path.join(root, copy))
    except OSError as error:
        hint = f"the edited file could not be copied to {copy}: {error.strerror or error}"
    return Problem(
        code="edited",
        message=f"{path} {why}",
        hint=hint,
        severity="warning",
    )
