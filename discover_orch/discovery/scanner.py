"""Reads the project's tree into a `Scan`, and into a `ScanIndex` that the next scan can start from.

Only files whose signature has changed are read, by `parse_files`; what a file refers to in other modules is read
from their text. Nothing is imported and nothing is written. `parse_files` and `resolve` load the parser, so they
are imported only where there is something to read: a warm start reads nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec.structs import replace

from discover_orch.config.file import resolve_packages
from discover_orch.config.project import Project
from discover_orch.discovery.facts_index import (
    FileFacts,
    FileRecord,
    KnownFacts,
    ReferencedFacts,
    ReferenceRecord,
    ScanIndex,
    encode_facts,
    read_known_facts,
)
from discover_orch.discovery.tree import ABSENT, Signatures, Tree, is_racy, read_tree, signature_of
from discover_orch.model.conventions import CONF_FILE
from discover_orch.model.errors import Location, Problem
from discover_orch.source.facts import (
    BrokenModule,
    ConfFacts,
    EnumRef,
    Exports,
    ModuleFacts,
    NameRef,
    PassedOver,
    Scan,
)
from discover_orch.state.store import Index

#: The key for what `orchconf.py` offers; its path is the key for its constants, as of any module.
_CONF_KEY = "resources"


def scan(
    project: Project,
    index: Index | None = None,
    *,
    key: str = "",
    is_wide: bool = False,
) -> tuple[Scan, ScanIndex, Signatures]:
    """Scans the project, starting from the index of the last scan.

    `key` stands for the configuration. `is_wide` also reads the files without the word STAGE, and finds those that
    look like tools.
    """
    started = time.time_ns()
    folders = scanned_folders(project)
    known = read_known_facts(index, project.pythonpath)
    tree = read_tree(project.root, folders, is_excluded=build_matcher(project.exclude))
    python_path = PythonPath(project)
    files = _read_all(project.root, tree, known, python_path)
    references = _References(project, tree, known, python_path)
    modules: list[ModuleFacts] = []
    broken: list[BrokenModule] = []
    problems = list(_folder_problems(tree))
    for _, facts in sorted(files.items()):
        if isinstance(facts, ModuleFacts):
            if _is_importable(facts.module):
                modules.append(references.resolve(facts))
            elif facts.stage and not facts.stage.is_off:
                problems.append(_misnamed(facts))
        elif isinstance(facts, BrokenModule) and _is_importable(facts.module):
            broken.append(_with_last_stages(facts, known))
    conf = references.conf()
    if isinstance(conf, BrokenModule):
        broken.append(conf)
    result = Scan(
        modules=tuple(modules),
        broken=tuple(broken),
        conf=conf if isinstance(conf, ConfFacts) else None,
        problems=tuple(problems),
        passed_over=tuple(_passed_over(project, tree, files, python_path, is_wide=is_wide)),
    )
    tree.signatures.update(references.extras)
    _mark_racy(tree, started)
    header = {
        "key": key,
        "pythonpath": [*project.pythonpath],
        "folders": folders,
        "excluded": sorted(tree.excluded),
        "extras": sorted(references.extras),
    }
    return (
        result,
        ScanIndex(
            header=header,
            tree=tree.text,
            facts=lambda: _encode(tree, files, references, known, modules),
        ),
        tree.signatures,
    )


def scanned_folders(project: Project) -> list[str]:
    """The configured packages that exist, relative to the root (`""` is the root)."""
    found = [os.path.relpath(folder, project.root) for folder in resolve_packages(project)]
    return ["" if folder == "." else folder for folder in found]


class PythonPath:
    """The configured `pythonpath`: which module a file is, and which files a module could be."""

    def __init__(self, project: Project) -> None:
        entries = [os.path.normpath(entry) for entry in project.pythonpath]
        #: In the order in which Python searches them.
        self._starts = list(dict.fromkeys("" if one == "." else one + "/" for one in entries))
        self._entries = sorted(self._starts, key=len, reverse=True)

    def name(self, path: str) -> str:
        """The module of a path, by the deepest entry that contains it; "" where none does."""
        for entry in self._entries:
            if path.startswith(entry):
                parts = path[len(entry) : -3].split("/")
                if parts[-1] == "__init__":
                    parts.pop()
                return ".".join(parts)
        return ""

    def candidates(self, module: str) -> list[str]:
        """The paths where Python would look for the module, in order."""
        inside = module.replace(".", "/")
        return [
            entry + inside + ending for entry in self._starts for ending in ("/__init__.py", ".py")
        ]


def _is_importable(module: str) -> bool:
    return all(map(str.isidentifier, module.split(".")))


def build_matcher(patterns: Sequence[str]) -> Callable[[str], bool] | None:
    """Whether a path matches one of these gitignore patterns; None where there are none."""
    if not patterns:
        return None
    import pathspec  # only where there are patterns: it costs as much as a small scan

    return pathspec.GitIgnoreSpec.from_lines(patterns).match_file


def _read_all(
    root: str, tree: Tree, known: KnownFacts, python_path: PythonPath
) -> dict[str, FileFacts]:
    """The facts of each file, from the index where its signature is the same."""
    files: dict[str, FileFacts] = {}
    changed: list[tuple[str, str]] = []
    for path, signature in tree.signatures.items():
        record = known.files.get(path)
        if record is not None and record.signature == signature:
            files[path] = record.facts
        else:
            changed.append((path, python_path.name(path)))
    if changed:
        from discover_orch.discovery import parse_files

        files.update(parse_files.read_files(root, changed))
    return files


class _References:
    """Reads what facts refer to: modules for their constants, and `orchconf.py`."""

    def __init__(
        self, project: Project, tree: Tree, known: KnownFacts, python_path: PythonPath
    ) -> None:
        self._project, self._root, self._tree = project, project.root, tree
        self._known, self._python_path = known, python_path
        self.facts: dict[str, ReferencedFacts] = {}
        #: Signatures of the files outside the scanned folders that were asked for.
        self.extras: dict[str, str] = {}
        self._exports: dict[str, Exports | None] = {}

    def resolve(self, facts: ModuleFacts) -> ModuleFacts:
        """The facts without references to other modules; most have none."""
        if _is_resolved(facts):
            return facts
        from discover_orch.source.resolve import resolve_module

        return resolve_module(facts, self.exports)

    def exports(self, module: str) -> Exports | None:
        """What others can refer to in the module; None where the project has no module of that name."""
        if module not in self._exports:
            self._exports[module] = self._read_exports(module)
        return self._exports[module]

    def conf(self) -> ConfFacts | BrokenModule | None:
        found = self._read(CONF_FILE, None)
        return found if isinstance(found, ConfFacts | BrokenModule) else None

    def _read_exports(self, module: str) -> Exports | None:
        for path in self._python_path.candidates(module):
            found = self._read(path, module)
            if found is not None:
                return found if isinstance(found, Exports) else None
        return None

    def _read(self, path: str, module: str | None) -> ReferencedFacts:
        """The exports of a module, or what `orchconf.py` offers where `module` is None."""
        signature = self._tree.signatures.get(path)
        if signature is None:
            signature = signature_of(os.path.join(self._root, path))
            self.extras[path] = signature
        if signature == ABSENT:
            return None
        key = path if module is not None else _CONF_KEY
        record = self._known.references.get(key)
        if record is not None and record.signature == signature:
            self.facts[key] = record.facts
        else:
            from discover_orch.discovery import parse_files

            self.facts[key] = (
                parse_files.read_orchconf(self._root, path)
                if module is None
                else parse_files.read_exports_of(self._root, path, module)
            )
        return self.facts[key]


def _is_resolved(facts: ModuleFacts) -> bool:
    """Whether nothing in the facts names another module."""
    words = [word for tag in (facts.stage, facts.after) if tag is not None for word in tag.words]
    types = [one.type for one in facts.run.arguments] if facts.run is not None else []
    return (
        not any(isinstance(one, NameRef) for one in words)
        and not any(isinstance(one, EnumRef) for one in types)
        and (facts.run is None or facts.run.ref is None)
    )


def _with_last_stages(broken: BrokenModule, known: KnownFacts) -> BrokenModule:
    """A broken file belongs to the stages stated before its error, else to those of its last good scan."""
    last = known.stages.get(broken.path, ())
    return broken if broken.stages or not last else replace(broken, stages=last)


def _passed_over(
    project: Project,
    tree: Tree,
    files: Mapping[str, FileFacts],
    python_path: PythonPath,
    *,
    is_wide: bool,
) -> Iterable[PassedOver]:
    for path, reason in tree.passed_over:
        yield PassedOver(path=path, reason=reason)
    for path in tree.excluded:
        yield PassedOver(path=path.rstrip("/"), reason="excluded by the configuration")
    if is_wide:
        from discover_orch.discovery import parse_files

        without_word = [path for path, facts in files.items() if facts is None]
        yield from parse_files.find_near_misses(
            project.root, [(path, python_path.name(path)) for path in without_word]
        )


def _misnamed(found: ModuleFacts) -> Problem:
    folder, _, name = found.path.rpartition("/")
    if not found.module:
        message = "contains STAGE, but __init__.py in a folder of pythonpath is not a module"
        hint = "move the tool into a module of its own"
    else:
        what = "its file name" if not name[:-3].isidentifier() else f"a folder name in {folder}/"
        message = f"contains STAGE, but {what} is not a valid module name"
        hint = "use only letters, digits and _, and no digit first"
    return Problem(
        code="misnamed",
        message=message,
        hint=hint,
        location=Location(path=found.path, line=found.stage.line if found.stage else None),
        severity="warning",
    )


def _folder_problems(tree: Tree) -> Iterable[Problem]:
    for path, reason in tree.unreadable:
        yield Problem(
            code="unreadable-folder",
            message=f"cannot be listed: {reason}",
            hint="change its permissions, or add it to exclude",
            location=Location(path=path or "."),
            severity="warning",
        )


def _mark_racy(tree: Tree, started: int) -> None:
    """A file that may change again without a new signature gets one that never matches."""
    for path, signature in tree.signatures.items():
        if is_racy(signature, started):
            tree.signatures[path] = "?" + signature


def _encode(
    tree: Tree,
    files: Mapping[str, FileFacts],
    references: _References,
    known: KnownFacts,
    modules: Iterable[ModuleFacts],
) -> str:
    stages = {path: names for path, names in known.stages.items() if path in files}
    for module in modules:
        if module.stage is not None and module.stage.words:
            words = module.stage.words
            stages[module.path] = tuple(word for word in words if isinstance(word, str))
    signatures = tree.signatures
    return encode_facts(
        KnownFacts(
            files={
                path: FileRecord(signature=signatures[path], facts=facts)
                for path, facts in files.items()
            },
            references={
                key: ReferenceRecord(
                    signature=signatures[CONF_FILE if key == _CONF_KEY else key], facts=facts
                )
                for key, facts in references.facts.items()
            },
            stages=stages,
        )
    )
