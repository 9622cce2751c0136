"""Why a word selects nothing, and what was probably meant. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable

from discover_orch.discovery.registry import Registry
from discover_orch.model.conventions import ALL_STAGES
from discover_orch.model.errors import Location, Problem, nearest

LIST_HINT = "orch list shows all stages and tools"
#: Codes of warnings that say why a module is not a tool.
_REASONS = ("no-run", "near-stage", "misnamed")


def find_disabled(registry: Registry, name: str, path: str | None) -> Problem | None:
    for tool in registry.disabled:
        if tool.path == path or tool.name == name or is_suffix(name, tool.module):
            return Problem(
                code="disabled",
                message=f'"{tool.name}" is disabled',
                hint="its module sets STAGE = None",
                location=Location(path=tool.path, line=tool.line),
            )
    return None


def unknown_path(
    word: str, path: str, folder: str, registry: Registry, files: Collection[str]
) -> Problem:
    """`path` is that of the word relative to the root, `folder` where it was typed, and `files` are those that were
    scanned."""
    if path in files or any(one.path == path for one in registry.passed_over):
        return _find_reason(path, registry)
    inside = [tool for tool in registry.tools.values() if tool.path.startswith(path + "/")]
    if inside:
        depth = inside[0].path.removeprefix(path).count("/")
        return _package(word, ".".join(inside[0].module.split(".")[:-depth]))
    paths = [tool.path for tool in registry.tools.values()]
    same = [one for one in paths if posixpath.basename(one) == posixpath.basename(path)]
    shown = [posixpath.relpath(one, folder or ".") for one in same or paths]
    return unknown(f'"{word}" is not the file of a tool', shown[0] if same else word, shown)


def unknown_name(word: str, registry: Registry, files: Collection[str]) -> Problem:
    """`word` is as it was typed, with its `+` and `tool:`."""
    core = word.removeprefix("+").removesuffix("+").removeprefix("tool:")
    message = f'unknown target "{word}"'
    if "=" in core:
        return _unknown(message, f"set a parameter with: -p {core}")
    known = {tool.path for tool in registry.tools.values()}
    for path in files:
        if path not in known and is_suffix(core, path.removesuffix(".py").replace("/", ".")):
            return _find_reason(path, registry)
    if any(f".{core}." in f".{module}" for module in registry.tools) and core.isidentifier():
        return _package(word, core)
    names = [*(one.name for one in registry.stages), *registry.groups, ALL_STAGES]
    return unknown(message, word, [*names, *registry.names.words])


def unknown(message: str, word: str, candidates: Iterable[str]) -> Problem:
    plain = word.strip("+").removeprefix("stage:").removeprefix("tool:")
    close = nearest(plain, candidates)
    return _unknown(message, f'did you mean "{close}"? ({LIST_HINT})' if close else LIST_HINT)


def is_suffix(name: str, module: str) -> bool:
    return f".{module}".endswith(f".{name}")


def _find_reason(path: str, registry: Registry) -> Problem:
    """Why a module that was scanned is not a tool, though it is neither broken nor disabled."""
    for warning in registry.warnings:
        place = warning.location
        if place is not None and place.path == path and warning.code in _REASONS:
            reason = warning.message.removesuffix(": it is not a tool")
            return _not_a_tool(path, place.line, reason, warning.hint)
    for one in registry.passed_over:
        if one.path == path:
            return _not_a_tool(path, one.line, one.reason)
    hint = 'a tool has a top-level STAGE = "..." and a run() function'
    return _not_a_tool(path, None, "it has no STAGE", hint)


def _not_a_tool(path: str, line: int | None, reason: str, hint: str = "") -> Problem:
    return Problem(
        code="not-a-tool",
        message=f"not a tool: {reason}",
        hint=hint,
        location=Location(path=path, line=line),
    )


def _package(word: str, package: str) -> Problem:
    hint = f'to select all tools below it, use "{package}.*"'
    return _unknown(f'"{word}" is a folder, not a tool', hint)


def _unknown(message: str, hint: str) -> Problem:
    return Problem(code="unknown-target", message=message, hint=hint)
