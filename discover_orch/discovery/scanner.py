"""Reads the project's tree into a `Scan`.

Only files whose mark has changed are read. Nothing is imported and nothing is written. `read_module` loads the
parser, so it is imported only where there is something to read: a warm start reads nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from discover_orch.config.file import find_package_places, resolve_packages
from discover_orch.config.project import Project
from discover_orch.discovery.source_files import SourceFiles, read_source
from discover_orch.discovery.tagged_modules import build_same_module
from discover_orch.discovery.tree import ABSENT, Tree, is_racy, read_tree
from discover_orch.model.conventions import CONF_FILE, SQL_SUFFIX
from discover_orch.model.errors import Problem
from discover_orch.source.facts import (
    BrokenTool,
    ConfFacts,
    ModuleFacts,
    PassedOver,
    Scan,
    Tag,
)


def scan(project: Project, sources: SourceFiles) -> Scan:
    """Scans the project. `sources` gets the marks of its files."""
    started = time.time_ns()
    is_excluded = build_matcher(project.exclude)
    tree = read_tree(project.root, scanned_folders(project), is_excluded=is_excluded)
    found = sorted(tree.marks)
    sources.marks = tree.marks
    result = collect(found, sources)
    result = replace(
        result,
        problems=(*_folder_problems(tree), *result.problems),
        passed_over=tuple(_passed_over(tree)),
    )
    for path, mark in tree.marks.items():
        if is_racy(mark, started):  # it matches none
            tree.marks[path] = "?" + mark
    return result


def collect(paths: Sequence[str], sources: SourceFiles) -> Scan:
    """What these files and `orchconf.py` say."""
    modules: list[ModuleFacts] = []
    broken: list[BrokenTool] = []
    problems: list[Problem] = []
    there = {*paths}
    for path in paths:
        file = sources.read(path, with_code=False)
        match file.facts if file else None:
            case ModuleFacts() as facts if is_tool_name(facts.module):
                modules.append(facts)
                problems += _parsing(facts)
                if path.endswith(SQL_SUFFIX) and facts.stage is not None:
                    base = path.removesuffix(SQL_SUFFIX)
                    others = there.intersection((f"{base}.py", f"{base}/__init__.py"))
                    problems += (build_same_module(path, one, facts.module) for one in others)
            case ModuleFacts(stage=Tag(is_off=False)) as facts:
                problems.append(_misnamed(facts))
            case BrokenTool() as one if is_tool_name(one.module):
                # It belongs to the stages stated before its error, else to those of its last good text.
                last = file.last_stage if file else None
                broken.append(replace(one, stages=one.stages or (last.words if last else ())))
    conf = _read_conf(sources)
    if isinstance(conf, BrokenTool):
        broken.append(conf)
    return Scan(
        modules=tuple(modules),
        broken=tuple(broken),
        conf=conf if isinstance(conf, ConfFacts) else None,
        problems=tuple(problems),
    )


def scanned_folders(project: Project) -> list[str]:
    """The configured packages that exist, relative to the root (`""` is the root)."""
    return _relative(project, resolve_packages(project))


def scanned_places(project: Project) -> list[str]:
    """The same, with those that are missing now and would be scanned if they appeared."""
    return _relative(project, find_package_places(project))


def _relative(project: Project, folders: Iterable[str]) -> list[str]:
    found = [os.path.relpath(folder, project.root) for folder in folders]
    return ["" if folder == "." else folder for folder in found]


def is_tool_name(module: str) -> bool:
    """Whether a tool can have this name, which a user types: `01_clean` and `02-train` too, though no `import`
    statement can name them."""
    return all(
        part[:1] != "-" and part.replace("-", "_").lstrip("0123456789_").isidentifier()
        for part in module.split(".")
    )


def build_matcher(patterns: Sequence[str]) -> Callable[[str], bool] | None:
    """Whether a path matches one of these gitignore patterns; None where there are none."""
    if not patterns:
        return None
    import pathspec  # only where there are patterns: it costs as much as a small scan

    return pathspec.GitIgnoreSpec.from_lines(patterns).match_file


def _read_conf(sources: SourceFiles) -> ConfFacts | BrokenTool | None:
    if sources.sign(CONF_FILE) == ABSENT:
        return None
    file = sources.read(CONF_FILE, with_code=False)
    found = file.facts if file else None
    return found if isinstance(found, ConfFacts | BrokenTool) else None


def _passed_over(tree: Tree) -> Iterable[PassedOver]:
    for path, reason in tree.passed_over:
        yield PassedOver(path=path, reason=reason)
    for path in tree.excluded:
        yield PassedOver(path=path.rstrip("/"), reason="excluded by the configuration")


def find_near_misses(project: Project, sources: SourceFiles) -> Iterable[PassedOver]:
    """Of the modules without the word STAGE, those that look like tools all the same."""
    from discover_orch.source.read_module import read_near_miss  # loads the parser

    for path in sources.marks:
        file = sources.read(path, with_code=False)
        if path.endswith(SQL_SUFFIX) or file is None or file.facts is not None:
            continue
        data = read_source(project.root, path)
        if isinstance(data, bytes) and b"run" in data:
            found = read_near_miss(data, module=sources.name(path), path=path)
            if found is not None:
                yield PassedOver(path=path, reason=found.miss, line=found.miss_line)


def _parsing(found: ModuleFacts) -> Iterable[Problem]:
    """A warning where `run()` reads the command line itself: it gets none, so each option has its default."""
    if found.run is not None and found.run.parses_line and found.stage is not None:
        yield Problem(
            code="parses-options",
            message="run() reads the command line itself, and orch gives it none",
            hint=f"options of orch run are parameters: def {found.run.parsed}:",
            path=found.path,
            line=found.run.parses_line,
            severity="warning",
        )


def _misnamed(found: ModuleFacts) -> Problem:
    folder = found.path.rpartition("/")[0]
    if not found.module:
        message = "contains STAGE, but __init__.py in a folder of pythonpath is not a module"
        hint = "move the tool into a module of its own"
    else:
        is_own = not is_tool_name(found.module.rpartition(".")[2])
        what = "its file name" if is_own else f"a folder name in {folder}/"
        message = f"contains STAGE, but {what} cannot be part of the name of a tool"
        hint = "use only letters, digits, _ and -, with at least one letter and no - first"
    return Problem(
        code="misnamed",
        message=message,
        hint=hint,
        path=found.path,
        line=found.stage.line if found.stage else None,
        severity="warning",
    )


def _folder_problems(tree: Tree) -> Iterable[Problem]:
    for path, reason in tree.unreadable:
        yield Problem(
            code="unreadable-folder",
            message=f"cannot be listed: {reason}",
            hint="change its permissions, or add it to exclude",
            path=path or ".",
            severity="warning",
        )
