"""What `orch --version -v` shows: the versions of orch, Python and the packages that it uses."""

from __future__ import annotations

import platform
import sys
from importlib import metadata

from discover_orch import __version__

REQUIRED = ("click", "msgspec", "pathspec", "python-dotenv", "rich", "watchdog")
#: Of the extras, and what a project may bring.
OPTIONAL = ("psycopg", "duckdb", "sqlglot", "distributed", "sqlalchemy", "pandas", "polars")


def version_text() -> str:
    """One line for each; optional packages only where they are installed."""
    rows = [
        ("orch", __version__),
        ("Python", f"{platform.python_version()} ({sys.executable})"),
        ("system", platform.platform()),
    ]
    rows += [(name, _find_version(name) or "not installed") for name in REQUIRED]
    rows += [(name, version) for name in OPTIONAL if (version := _find_version(name))]
    width = max(len(name) for name, _ in rows)
    return "".join(f"{name:<{width}}  {version}\n" for name, version in rows)


def _find_version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
