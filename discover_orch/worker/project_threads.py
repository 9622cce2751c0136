"""The threads that keep a worker from ending."""

from __future__ import annotations

import sys

from discover_orch.model.search_path import INSTALLED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from discover_orch.worker.project_code import ProjectCode


def find_threads(project: ProjectCode) -> tuple[list[str], bool]:
    """The names of threads that keep the interpreter from ending, and whether there are others, which no code of the
    project can end: only code of installed packages runs in them."""
    threading = sys.modules.get("threading")
    if threading is None:
        return [], False
    main, frames = threading.main_thread(), sys._current_frames()
    names, has_others = [], False
    for one in threading.enumerate():
        if one is not main and not one.daemon:
            files = []
            frame = frames.get(one.ident)
            while frame is not None:
                files.append(frame.f_code.co_filename)
                frame = frame.f_back
            is_installed = any(part in file for file in files for part in INSTALLED)
            if is_installed and not any(map(project.find_path, files)):
                has_others = True
            else:
                names.append(one.name)
    return names, has_others
