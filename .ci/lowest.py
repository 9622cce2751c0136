"""Prints the lowest version of each package that discover_orch allows, as constraints for pip.

Only of what the package itself and its extras for databases and clusters need: tools of the tests are the newest.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

EXTRAS = ("postgres", "duckdb", "dask")


def main() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(one for extra in EXTRAS for one in extras[extra])]
    for requirement in dict.fromkeys(wanted):
        found = re.fullmatch(r"([\w-]+)(?:\[[\w,-]+\])?>=([\d.]+)", requirement)
        if found is None:
            raise SystemExit(f"has no lowest version: {requirement}")
        print(f"{found[1]}=={found[2]}")


if __name__ == "__main__":
    main()
