"""The modules of a hand-written orchestrator's `TOOL_MAP`, found without running anything."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator

from msgspec import Struct

from discover_orch.model.errors import Location, Problem
from discover_orch.scaffold.files import read_file
from discover_orch.scaffold.imported_values import find_folders, find_module
from discover_orch.scaffold.orchestrator import Orchestrator
from discover_orch.scaffold.passed_flags import RunSignature, read_signature

_SKIPPED = frozenset({"node_modules", "__pycache__", "site-packages"})


class FoundTool(Struct, frozen=True, kw_only=True):
    """A tool of `TOOL_MAP` whose module was found: its file relative to the root, and the folder on `sys.path`.
    `place` is that of the entry."""

    name: str
    module: str
    path: str
    base: str
    place: Location
    signature: RunSignature


def find_tools(root: str, old: Orchestrator, problems: list[Problem]) -> Iterator[FoundTool]:
    """The tools whose modules are there and have `run()`. What is wrong with the others is added to `problems`."""
    bases = find_folders(old.path)
    for tool in old.tools:
        module, function = tool.module, tool.function
        if module.endswith(".py"):
            module = module.removesuffix(".py").removeprefix("./").replace("/", ".")
        found = find_module(root, bases, module)
        if found is None and "." in module:  # the name of a function in a module
            parent, _, last = module.rpartition(".")
            found = find_module(root, bases, parent)
            if found and last in read_signature(read_file(root, found[1]) or b"").names:
                module, function = parent, last
            else:
                found = None
        if found is None:
            problems.append(
                adopt_problem(
                    tool.place.path,
                    tool.place.line,
                    f"the module of {tool.name} was not found: {module}",
                    f"correct the entry or remove it (looked in {', '.join(bases)})",
                )
            )
            continue
        base, path = found
        wanted = function if function not in ("", "?") else old.calls.function
        signature = read_signature(read_file(root, path) or b"")
        if not signature.has_run:
            hint = "define run() at the top level of the module"
            if wanted != "run":
                hint = f"rename {wanted}() to run(), or add the line: run = {wanted}"
            problems.append(adopt_problem(path, None, f"{tool.name} has no run()", hint))
            continue
        if wanted not in ("run", "?"):
            problems.append(
                adopt_problem(
                    path,
                    None,
                    f"{tool.name} was called as {wanted}(), and orch calls run()",
                    "make run() do the same",
                )
            )
        yield FoundTool(
            name=tool.name,
            module=module,
            path=path,
            base=base,
            place=tool.place,
            signature=signature,
        )


def find_source_files(root: str) -> Iterator[str]:
    """The Python and TOML files of the project, relative to the root."""
    for folder, folders, files in os.walk(root):
        folders[:] = [
            name
            for name in folders
            if name not in _SKIPPED
            and not name.startswith(".")
            and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
        ]
        for name in files:
            path = os.path.join(folder, name)
            if name.endswith((".py", ".toml")) and os.path.isfile(path):
                yield os.path.relpath(path, root)


def find_importers(root: str, old_path: str) -> Iterator[Problem]:
    """A problem for each module that imports the old file, which its user may want to remove."""
    parts = old_path.removesuffix(".py").split("/")
    names = {".".join(parts[start:]) for start in range(len(parts))}
    for path in sorted(find_source_files(root)):
        data = read_file(root, path) or b""
        if not path.endswith(".py") or path == old_path or parts[-1].encode() not in data:
            continue
        try:
            tree = ast.parse(data)
        except (SyntaxError, ValueError, RecursionError):
            continue
        for node in ast.walk(tree):
            match node:
                case ast.Import(names=found):
                    imported = {one.name for one in found}
                case ast.ImportFrom(module=module, names=found, level=0):
                    imported = {module or "", *(f"{module}.{one.name}" for one in found)}
                case ast.ImportFrom(module=module, names=found):
                    imported = {module or "", *(one.name for one in found)}
                case _:
                    continue
            if names & imported:
                yield adopt_problem(
                    path.replace(os.sep, "/"),
                    node.lineno,
                    f"the module imports {old_path}, so that file is still needed",
                    "take what it needs from elsewhere: conn is passed to run(conn)",
                )
                break


def adopt_problem(path: str, line: int | None, message: str, hint: str = "") -> Problem:
    """A warning of `orch adopt`."""
    place = Location(path=path, line=line)
    return Problem(code="adopt", message=message, hint=hint, location=place, severity="warning")
