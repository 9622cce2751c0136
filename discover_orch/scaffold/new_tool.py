"""The files of `orch new`: a module that is a tool, and its test."""

from __future__ import annotations

import keyword
import os

from discover_orch.config.file import OWN_FILE, resolve_packages
from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, uses_get_connection
from discover_orch.model.conventions import ALL_STAGES, is_skipped_file
from discover_orch.model.errors import Problem, UsageError
from discover_orch.scaffold.files import FileChange, read_file
from discover_orch.scaffold.toml_text import append_to_list, toml_value


def build_new_tool(
    project: Project,
    registry: Registry,
    *,
    name: str,
    stage: str,
    after: str | None = None,
    package: str | None = None,
) -> tuple[FileChange, ...]:
    """The module and its test, and the configuration with the stage if that is new. Raises UsageError."""
    if not name.isidentifier() or keyword.iskeyword(name) or is_skipped_file(f"{name}.py"):
        hint = (
            "use letters, digits and underscores, such as load_orders; --package gives the folder"
        )
        raise _wrong(f'"{name}" cannot be the name of a tool\'s module', hint)
    changes = _add_stage(project, registry, stage)
    path = f"{_find_folder(project, registry, stage, package)}/{name}.py".removeprefix("./")
    test = f"tests/test_{name}.py"
    for taken in (path, test):
        if os.path.lexists(os.path.join(project.root, taken)):
            raise _wrong(f"{taken} already exists", "choose another name")
    is_sqlite = project.database.startswith("sqlite:")
    is_sqlite = is_sqlite and not uses_get_connection(registry, project)
    is_taken = registry.names.find(name) or name in (stage, *registry.groups)
    word = path if is_taken or registry.stage(name) else name
    module = _module_text(name, stage, after, is_sqlite=is_sqlite)
    return (
        *changes,
        FileChange(path=path, old=None, new=module.encode()),
        FileChange(path=test, old=None, new=_test_text(name, word).encode()),
    )


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
        tools = (tool.path for tool in registry.tools.values() if stage in tool.stages)
        return os.path.dirname(next(tools, f"{folders[0]}/")) or "."
    path = os.path.normpath(package if "/" in package else package.replace(".", "/"))
    parts = path.split("/")
    is_scanned = any(one in (".", path) or path.startswith(one + "/") for one in folders)
    if not is_scanned or not all(part.isidentifier() or part == "." for part in parts):
        message = f"--package {package} is not in a folder that is scanned ({', '.join(folders)})"
        raise _wrong(message, f"for example: --package {folders[0]}/shop")
    return path


def _module_text(name: str, stage: str, after: str | None, *, is_sqlite: bool) -> str:
    kind, where = ("Connection", "sqlite3") if is_sqlite else ("Any", "typing")
    tags = f"STAGE = {toml_value(stage)}\n" + (f"AFTER = {toml_value(after)}\n" if after else "")
    return f'''"""Say here in one line what {name} does."""

from {where} import {kind}

{tags}

def run(conn: {kind}, *, limit: int = 10) -> dict[str, int]:
    """Say here what a run does.

    Args:
        limit: the largest number of rows
    """
    rows = conn.execute("SELECT 1").fetchall()[:limit]
    return {{"rows": len(rows)}}
'''


def _test_text(name: str, word: str) -> str:
    return f'''"""Tests of the tool {name}, on an empty database in memory."""

from discover_orch.testing import OrchRun


def test_{name}_returns_the_number_of_rows(orch_run: OrchRun) -> None:
    assert orch_run({toml_value(word)}, limit=5) == {{"rows": 1}}
'''


def _wrong(message: str, hint: str) -> UsageError:
    return UsageError(Problem(code="usage", message=message, hint=hint))
