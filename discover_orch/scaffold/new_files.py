"""What `orch init` and `orch new` write: a first project with two tools, their data and a test; one more tool and its
test."""

from __future__ import annotations

import glob
import keyword
import os

from msgspec.structs import replace

from discover_orch.config.file import OWN_FILE, SHARED_FILE, resolve_packages
from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, uses_get_connection
from discover_orch.discovery.scanner import is_tool_name
from discover_orch.model.conventions import ALL_STAGES, SQL_SUFFIX, TOOL_SUFFIXES, is_skipped_file
from discover_orch.model.errors import Location, ProjectError, UsageError
from discover_orch.scaffold.file_changes import (
    CannotEdit,
    FileChange,
    Table,
    add_settings,
    append_to_list,
    is_searched,
    read_file,
    read_text,
    toml_table,
    toml_value,
)

_STAGES = ("ingest", "report")
#: Folders that usually hold no tools.
_NO_CODE = frozenset({"tests", "test", "docs"})
_IGNORED = ("data.db", "data.db-*", "*.duckdb", "output/", "__pycache__/")
#: Their texts are in the folder `first_project`.
_FILES = ("src/load.py", "src/summarize.py", "data/orders.csv", "tests/test_pipeline.py")


def build_first_project(
    root: str, registry: Registry, code: list[str], packages: list[str]
) -> tuple[FileChange, ...]:
    """The files to create or to extend in the folder `root`, which has no configuration of orch. `code`: its folders
    with Python code: where there are some, no example is added. Files that exist stay as they are.

    Raises ProjectError if the settings cannot be added to the pyproject.toml that exists."""
    stages = [stage.name for stage in registry.stages] or ([] if code else list(_STAGES))
    table: Table = {
        "packages": None if packages == ["src"] else packages,
        "stages": stages,
        "pythonpath": ["src"] if _has_src_layout(root) else None,
    }
    try:
        settings = add_settings(root, table)
    except CannotEdit as error:
        hint = "correct the file, or write the settings to orch.toml: stages = [...]"
        raise ProjectError.of("toml", str(error), hint, Location(path=SHARED_FILE)) from None
    if settings.is_new and (not code or os.path.isdir(os.path.join(root, "tests"))):
        tests = toml_table("tool.pytest.ini_options", {"testpaths": ["tests"]})
        settings = replace(settings, new=settings.new + f"\n{tests}".encode())
    found = [settings]
    for path in () if code else _FILES:
        if read_file(root, path) is None:
            text = read_text(f"first_project/{path}")
            found.append(FileChange(path=path, old=None, new=text.encode()))
    ignored = _ignore_file(root)
    return tuple(found) if ignored is None else (*found, ignored)


def find_code(root: str) -> list[str]:
    """The folders of `root` with Python code that is no test; only "." where modules stand in `root` itself. Files of
    SQL count in `src` alone: elsewhere they are rarely tools."""
    folders = []
    for entry in sorted(os.scandir(root), key=lambda one: one.name):
        if entry.is_file() and _is_code(entry.name) and entry.name != "setup.py":
            return ["."]
        if entry.is_dir() and is_searched(entry.path) and entry.name not in _NO_CODE:
            for folder, inner, files in os.walk(entry.path):
                inner[:] = [one for one in inner if is_searched(os.path.join(folder, one))]
                has_sql = entry.name == "src" and any(one.endswith(SQL_SUFFIX) for one in files)
                if has_sql or any(map(_is_code, files)):
                    folders.append(entry.name)
                    break
    return folders


def _is_code(name: str) -> bool:
    return name.endswith(".py") and not is_skipped_file(name)


def _has_src_layout(root: str) -> bool:
    """Whether `src` holds packages and is none itself, so that Python finds them with `src` on its path."""
    source = os.path.join(root, "src")
    packages = glob.iglob(os.path.join(glob.escape(source), "*", "__init__.py"))
    return not os.path.exists(os.path.join(source, "__init__.py")) and any(packages)


def _ignore_file(root: str) -> FileChange | None:
    """`.gitignore` with the lines that it does not have yet; None if it has them all."""
    old = read_file(root, ".gitignore")
    data = old or b""
    lines = {line.strip() for line in data.decode("utf-8", "replace").splitlines()}
    missing = [line for line in _IGNORED if line not in lines and line.strip("/") not in lines]
    if not missing:
        return None
    gap = b"" if not data or data.endswith(b"\n") else b"\n"
    added = "".join(f"{line}\n" for line in missing).encode()
    return FileChange(path=".gitignore", old=old, new=data + gap + added)


def build_new_tool(
    project: Project,
    registry: Registry,
    *,
    name: str,
    stage: str,
    after: str | None = None,
    package: str | None = None,
) -> tuple[FileChange, ...]:
    """The module, of SQL where `name` ends so, and its test, and the configuration with the stage if that is new.
    Raises UsageError."""
    is_sql = name.endswith(SQL_SUFFIX)
    stem = name.removesuffix(SQL_SUFFIX)
    is_named, name = is_tool_name(stem) and "." not in stem, stem
    if not is_named or keyword.iskeyword(name) or is_skipped_file(f"{name}.py"):
        hint = "use letters, digits, _ and -, such as load_orders; --package gives the folder"
        raise _wrong(f'"{name}" cannot be the name of a tool\'s module', hint)
    changes = _add_stage(project, registry, stage)
    folder = _find_folder(project, registry, stage, package)
    path, namesake = (
        f"{folder}/{name}{suffix}".removeprefix("./")
        for suffix in (TOOL_SUFFIXES[::-1] if is_sql else TOOL_SUFFIXES)
    )
    test_name = name.replace("-", "_")
    test = f"tests/test_{test_name}.py"
    for taken in (path, namesake, test):
        if os.path.lexists(os.path.join(project.root, taken)):
            raise _wrong(f"{taken} already exists", "choose another name")
    is_sqlite = project.database.startswith("sqlite:")
    is_sqlite = is_sqlite and not uses_get_connection(registry, project)
    is_taken = registry.names.find(name) or name in (stage, *registry.groups)
    word = path if is_taken or registry.stage(name) else name
    kind, where = ("Connection", "sqlite3") if is_sqlite else ("Any", "typing")
    tags = [f"STAGE = {toml_value(stage)}"] + ([f"AFTER = {toml_value(after)}"] if after else [])
    if is_sql:
        tags = [f"-- STAGE: {stage}"] + ([f"-- AFTER: {after}"] if after else [])
    values = {"name": name, "kind": kind, "where": where, "tags": "\n".join(tags)}
    values |= {"word": toml_value(word), "test_name": test_name}
    texts = ((path, f"new_tool/tool{SQL_SUFFIX if is_sql else '.py'}"), (test, "new_tool/test.py"))
    made = [
        FileChange(path=one, old=None, new=read_text(text).format_map(values).encode())
        for one, text in texts
    ]
    return (*changes, *made)


def _add_stage(project: Project, registry: Registry, stage: str) -> tuple[FileChange, ...]:
    """Nothing for a stage that exists; else the configuration with the stage at the end of its `stages`, if any."""
    if registry.stage(stage) is not None:
        return ()
    if not stage.strip() or stage == ALL_STAGES or stage in registry.groups:
        raise _wrong(f'"{stage}" cannot be the name of a stage', "choose another name")
    config = project.config
    if not project.stages or config is None or project.origins.get("stages") != config:
        return ()
    old = read_file(project.root, config) or b""
    table = () if config == OWN_FILE else ("tool", "orch")
    try:
        new = append_to_list(old.decode(), table, "stages", stage)
    except ValueError:
        hint = f"add it first to {config}: stages = {toml_value([*project.stages, stage])}"
        raise _wrong(f'there is no stage "{stage}"', hint) from None
    return (FileChange(path=config, old=old, new=new.encode()),)


def _find_folder(project: Project, registry: Registry, stage: str, package: str | None) -> str:
    """`package`, else where the first tool of the stage is, else the first folder that is scanned; below the root."""
    folders = [os.path.relpath(one, project.root) for one in resolve_packages(project)] or ["src"]
    if package is None:
        tools = (tool.path for tool in registry.by_tool.tools.values() if stage in tool.stages)
        return os.path.dirname(next(tools, f"{folders[0]}/")) or "."
    path = os.path.normpath(package if "/" in package else package.replace(".", "/"))
    parts = path.split("/")
    is_scanned = any(one in (".", path) or path.startswith(one + "/") for one in folders)
    if not is_scanned or not all(part.isidentifier() or part == "." for part in parts):
        message = f"--package {package} is not in a folder that is scanned ({', '.join(folders)})"
        raise _wrong(message, f"for example: --package {folders[0]}/shop")
    return path


def _wrong(message: str, hint: str) -> UsageError:
    return UsageError.of("usage", message, hint)
