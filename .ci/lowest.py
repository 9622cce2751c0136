"""Prints the lowest version of each dependency that discover_orch allows, as constraints for pip.

Not of the drivers of databases, which extras bring: how newer ones read some statements is what the tests expect.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path


def main() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    for requirement in project["dependencies"]:
        found = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement)
        if found is None:
            raise SystemExit(f"has no lowest version: {requirement}")
        print(f"{found[1]}=={found[2]}")


if __name__ == "__main__":
    main()
