"""Where Python finds modules of the project beside `pythonpath`: folders in `PYTHONPATH`, and packages that were
installed in editable form, wherever they are.

A worker and the process that starts it have the same interpreter and environment, so both find the same folders.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping

STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep
OWN_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
EDITABLE = "__editable__"  # how the names of setuptools' finders begin


def is_of_python(path: str) -> bool:
    """Whether a file belongs to the standard library."""
    return path.startswith(STANDARD_LIBRARY) and not any(one in path for one in INSTALLED)


def find_project_folders(root: str, search_path: Iterable[str]) -> Iterator[str]:
    """The entries of `sys.path` that hold modules of the project: those below the root, and those that a `.pth` file
    has added, as `pip install -e` does. They come after the folder of the `.pth` file."""
    has_pth = False
    for entry in filter(os.path.isabs, search_path):
        folder = with_slash(entry)
        if any(part in folder for part in INSTALLED):
            has_pth = True
        elif (
            (has_pth or folder.startswith(with_slash(root)))
            and not folder.startswith(STANDARD_LIBRARY)
            and not OWN_FOLDER.startswith(folder)
        ):
            yield entry


def find_editable_packages(
    modules: Mapping[str, object], is_folder: Callable[[str], bool]
) -> tuple[str, ...]:
    """Folders of packages, and files of modules, that setuptools has installed in editable form with a finder;
    `modules` are those that are loaded."""
    found = []
    for name, module in [*modules.items()]:
        mapping = getattr(module, "MAPPING", None) if name.startswith(EDITABLE) else None
        if isinstance(mapping, dict):
            found += [
                path if is_folder(path) else f"{path}.py"
                for package, path in mapping.items()
                if os.path.basename(path) == package
            ]
    return tuple(found)


def with_slash(folder: str) -> str:
    return folder.rstrip(os.sep) + os.sep
