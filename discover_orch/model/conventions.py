"""Names with a fixed meaning that several packages share, and the words of statuses. They are documented, so a change
here breaks projects."""

from __future__ import annotations

#: The file that offers `conn` and other resources, at the project's root, and its module.
CONF_FILE = "orchconf.py"
CONF_MODULE = "orchconf"
#: The group of all stages in order. No stage and no other group may have this name.
ALL_STAGES = "full"
#: How the names of the functions begin that judge what a tool has done.
CHECK_PREFIXES = ("check_", "warn_")
#: How the variables begin that set what the configuration does not, and the URL of the database elsewhere.
VARIABLE_PREFIX = "ORCH_"
PARAM_PREFIX = "ORCH_PARAM_"
DATABASE_VARIABLE = "DATABASE_URL"
#: What makes a path or a target a pattern.
GLOB_CHARACTERS = frozenset("*?[")
#: How the files end that can be tools.
SQL_SUFFIX = ".sql"
TOOL_SUFFIXES = (".py", SQL_SUFFIX)
#: Folders that are not scanned for tools, beside those that are hidden or a virtual environment.
SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules", "build", "dist"})
#: What `orch run` itself takes, without dashes: a parameter of the same name can only be set with -p.
OWN_OPTIONS = frozenset(
    {"changed", "changed_since", "checks", "color", "database", "dry_run", "exclude", "executor", "exitfirst"}
    | {"help", "if_busy", "jobs", "json", "junit", "maxfail", "no_checks", "on_failure", "openlineage", "output"}
    | {"param", "pdb", "project", "quiet", "rebuild", "resume", "trace", "verbose"}
)  # fmt: skip

_SKIPPED_FILES = frozenset({"conftest.py", CONF_FILE, "__main__.py"})


def is_skipped_file(name: str) -> bool:
    """Whether a Python file cannot be a tool by its name: a test, `conftest.py`, `orchconf.py`, `__main__.py`."""
    if name.endswith(SQL_SUFFIX):
        return False
    return name in _SKIPPED_FILES or name.startswith("test_") or name.endswith("_test.py")


def module_of(path: str) -> str:
    """The dotted name of a file below the root, whatever `pythonpath` says."""
    for suffix in TOOL_SUFFIXES:
        path = path.removesuffix(suffix)
    return path.replace("/", ".")


def status_words(status: str) -> str:
    """How the status of a tool or a run is shown: `not run`."""
    return status.replace("_", " ")
