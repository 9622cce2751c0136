"""The files of `orch new`: a module that is a tool, and its test."""

from __future__ import annotations

import keyword
import os
import sys
import tomllib

from discover_orch.config.file import OWN_FILE, find_line, name_setting, resolve_packages
from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry, uses_get_connection
from discover_orch.discovery.scanner import PythonPath
from discover_orch.model.conventions import ALL_STAGES, is_skipped_file
from discover_orch.model.errors import Location, Problem, UsageError, nearest
from discover_orch.scaffold.files import FileChange, read_file
from discover_orch.scaffold.toml_text import CannotEdit, append_to_list, toml_value

#: A new stage with a name that is so similar to that of another is a typing error.
_SIMILARITY = 0.75


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
    _refuse_name(name)
    changes = _add_stage(project, registry, stage)
    if after is not None:
        after = _find_after(registry, stage, after)
    folder = _find_folder(project, package) if package else _guess_folder(project, registry, stage)
    path = os.path.join(folder, f"{name}.py").replace(os.sep, "/").removeprefix("./")
    for taken in (path, f"{path.removesuffix('.py')}/__init__.py"):
        if os.path.lexists(os.path.join(project.root, taken)):
            raise _wrong(f"{taken} already exists", "choose another name, or another --package")
    if PythonPath(project).name(path) in sys.stdlib_module_names:
        raise _wrong(
            f"{path} would hide the module {name} of Python's standard library",
            "choose another name, or another --package",
        )
    is_sqlite = project.database.startswith("sqlite:") and not uses_get_connection(
        registry, project
    )
    module = _module_text(name, stage, after, is_sqlite=is_sqlite)
    word = _find_word(project, registry, name, stage, path)
    test = _test_path(project.root, path)
    return (
        *changes,
        *_package_file(project.root, folder),
        FileChange(path=path, old=None, new=module.encode()),
        FileChange(path=test, old=None, new=_test_text(name, word).encode()),
    )


def find_new_problems(before: Registry, after: Registry, name: str) -> list[Problem]:
    """The errors that the new tool causes, and a warning if its name means several tools now."""
    found = after.names.find(name)
    problems = [one for one in after.errors if one not in before.errors]
    if len(found) > 1:
        problems.append(
            Problem(
                code="ambiguous",
                message=f'"{name}" now matches several tools',
                hint=f"use one of {', '.join(after.display(module) for module in found)}",
                severity="warning",
            )
        )
    return problems


def _refuse_name(name: str) -> None:
    better = name.removesuffix(".py").replace("-", "_").replace(" ", "_")
    if not name.isidentifier() or keyword.iskeyword(name):
        hint = "use letters, digits and underscores, such as load_orders"
        if "/" in name or "." in name.removesuffix(".py"):
            hint = "give the folder with --package: orch new load_orders --package src/shop"
        elif better.isidentifier() and not keyword.iskeyword(better):
            hint = f"for example: {better}"
        raise _wrong(f'"{name}" cannot be the name of a module', hint)
    if is_skipped_file(f"{name}.py"):
        raise _wrong(f"{name}.py would not be scanned for tools", "choose another name")


def _add_stage(project: Project, registry: Registry, stage: str) -> tuple[FileChange, ...]:
    """Nothing for a stage that exists; else the configuration with the stage at the end of its `stages`, if any."""
    known = [one.name for one in registry.stages]
    if stage in known:
        return ()
    if not stage.strip() or stage == ALL_STAGES or stage in registry.groups:
        raise _wrong(f'"{stage}" cannot be the name of a stage', "choose another name")
    close = nearest(stage, known, similarity=_SIMILARITY)
    if close:
        place = name_setting(project, "stages")
        hint = f'did you mean "{close}"? For a new stage, add "{stage}" to {place} first'
        raise _wrong(f'there is no stage "{stage}"', hint)
    if (
        not project.stages
        or project.config is None
        or project.origins.get("stages") != project.config
    ):
        return ()
    old = read_file(project.root, project.config) or b""
    table = () if project.config == OWN_FILE else ("tool", "orch")
    try:
        new = append_to_list(old.decode(), table, "stages", stage)
    except (CannotEdit, UnicodeDecodeError, tomllib.TOMLDecodeError):
        listed = toml_value([*project.stages, stage])
        raise UsageError(
            Problem(
                code="new-stage",
                message=f'there is no stage "{stage}"',
                hint=f"add it first: stages = {listed}",
                location=Location(path=project.config, line=find_line(project, ("stages",))),
            )
        ) from None
    return (FileChange(path=project.config, old=old, new=new.encode()),)


def _find_after(registry: Registry, stage: str, word: str) -> str:
    """The word for the tag `AFTER`. Raises UsageError if it means nothing, several tools, or a later stage."""
    found = registry.names.find(word.removeprefix("tool:"))
    if len(found) > 1:
        names = ", ".join(registry.display(module) for module in found)
        raise _wrong(f"--after {word} is ambiguous", f"use one of {names}")
    ranks = {one.name: number for number, one in enumerate(registry.stages)}
    own = ranks.get(stage, len(ranks))
    named = word.removeprefix("stage:")
    if not found and named not in ranks:
        close = nearest(word, [*registry.names.words, *ranks])
        hint = f'did you mean "{close}"?' if close else "orch list shows all stages and tools"
        raise _wrong(f"--after {word}: there is no such tool or stage", hint)
    if (registry.rank.get(found[0], own) if found else ranks[named]) > own:
        raise _wrong(
            f"--after {word}: it belongs to a later stage than {stage}",
            "a tool runs after tools of its own stage and of earlier ones; choose a later --stage",
        )
    return word


def _find_folder(project: Project, package: str) -> str:
    """The folder of `--package`, relative to the root: a path, or dotted. It must be scanned."""
    folders = [os.path.relpath(one, project.root) for one in resolve_packages(project)] or ["src"]
    path = package if "/" in package else package.replace(".", "/")
    path = os.path.normpath(path)
    for one in ("", *folders):
        candidate = os.path.normpath(os.path.join(one, path))
        inside = [
            f for f in folders if f == "." or candidate == f or candidate.startswith(f + os.sep)
        ]
        parts = candidate.split(os.sep)
        if inside and ".." not in parts and all(p.isidentifier() or p == "." for p in parts):
            return candidate
    listed = ", ".join(folders)
    raise _wrong(
        f"--package {package} is not in a folder that is scanned ({listed})",
        f"for example: --package {folders[0]}/shop",
    )


def _guess_folder(project: Project, registry: Registry, stage: str) -> str:
    """Where the tools of the stage are, or else all tools, if that is one folder; otherwise the first scanned one."""
    tools = list(registry.tools.values())
    for some in ([tool for tool in tools if stage in tool.stages], tools):
        folders = {os.path.dirname(tool.path) for tool in some}
        if len(folders) == 1:
            return folders.pop() or "."
    found = resolve_packages(project)
    return os.path.relpath(found[0], project.root) if found else "src"


def _package_file(root: str, folder: str) -> tuple[FileChange, ...]:
    """`__init__.py` of a folder that is new, if the one above has one too."""
    parent = os.path.join(os.path.dirname(folder), "__init__.py")
    if os.path.isdir(os.path.join(root, folder)) or not os.path.isfile(os.path.join(root, parent)):
        return ()
    return (FileChange(path=f"{folder}/__init__.py", old=None, new=b""),)


def _find_word(project: Project, registry: Registry, name: str, stage: str, path: str) -> str:
    """What names the new tool alone."""
    if registry.names.find(name):
        return path
    is_taken = name == stage or registry.stage(name) is not None or name in project.groups
    return f"tool:{name}" if is_taken else name


def _test_path(root: str, path: str) -> str:
    folder = (
        "test"
        if os.path.isdir(os.path.join(root, "test"))
        and not os.path.isdir(os.path.join(root, "tests"))
        else "tests"
    )
    parts = path.removesuffix(".py").split("/")
    for start in range(len(parts) - 1, -1, -1):
        found = f"{folder}/test_{'_'.join(parts[start:])}.py"
        if not os.path.lexists(os.path.join(root, found)):
            return found
    raise _wrong(f"{folder} already has a test of this name", "choose another name")


def _module_text(name: str, stage: str, after: str | None, *, is_sqlite: bool) -> str:
    kind, where = ("Connection", "sqlite3") if is_sqlite else ("Any", "typing")
    # What stands for a value in SQL depends on the driver, except in SQLite.
    query = (
        '"SELECT 1 LIMIT ?", [limit]).fetchall()' if is_sqlite else '"SELECT 1").fetchall()[:limit]'
    )
    tags = f"STAGE = {_literal(stage)}\n" + (f"AFTER = {_literal(after)}\n" if after else "")
    return f'''"""Say here in one line what {name} does."""

from {where} import {kind}

{tags}

def run(conn: {kind}, *, limit: int = 10) -> dict[str, int]:
    """Say here what a run does.

    Args:
        limit: the largest number of rows
    """
    rows = conn.execute({query}
    return {{"rows": len(rows)}}
'''


def _test_text(name: str, word: str) -> str:
    return f'''"""Tests of the tool {name}, on an empty database in memory."""

from discover_orch.testing import OrchRun


def test_{name}_returns_the_number_of_rows(orch_run: OrchRun) -> None:
    assert orch_run({_literal(word)}, limit=5) == {{"rows": 1}}
'''


def _literal(text: str) -> str:
    """A Python string, in double quotes as formatters write them."""
    return toml_value(text)


def _wrong(message: str, hint: str) -> UsageError:
    return UsageError(Problem(code="usage", message=message, hint=hint))
