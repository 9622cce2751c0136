"""The eye: looks at the project's tree and reads, never imports, what stands there.

In: a `Project` and the index of the last look. Out: a `Scan`, and a `ScanIndex` that the next look can start
from. Only files whose signature changed are read, by `reading`, which is imported where there are any: the
one late import outside `cli`, for the sake of every warm start. Writes nothing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

from discover_orch.config.file import resolve_packages
from discover_orch.config.project import Project
from discover_orch.discovery.tree import ABSENT, Tree, is_racy, read_tree, signature_of
from discover_orch.model.errors import Location, Problem
from discover_orch.model.tool import ParamType
from discover_orch.source import facts_rows as rows
from discover_orch.source.facts import (
    BrokenModule,
    ConfFacts,
    Exports,
    ModuleFacts,
    NameRef,
    PassedOver,
    Scan,
    UnknownType,
)
from discover_orch.state.store import Index

CONF = "orchconf.py"
#: Under this the index keeps what `orchconf.py` offers; under its path, its constants, as of any module.
_CONF_KEY = "resources"

Row = list[object]
Entry = tuple[str, Row | None]


class ScanIndex(Struct, frozen=True, kw_only=True):
    """What the next look starts from: the index, less the listing. `signatures` are those of all files that the
    look met, with a `?` before those that are to match none."""

    header: Mapping[str, object]
    tree: str
    signatures: Mapping[str, str]
    make_facts: Callable[[], Mapping[str, object]]

    @property
    def facts(self) -> Mapping[str, object]:
        """Made only where something has changed, which a warm look finds out from the rest."""
        return self.make_facts()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScanIndex) and (self.header, self.tree, self.facts) == (
            other.header,
            other.tree,
            other.facts,
        )


def scan(
    project: Project, index: Index | None = None, *, key: str = "", is_wide: bool = False
) -> tuple[Scan, ScanIndex]:
    """`key` stands for the configuration; `is_wide` also reads the files without the word STAGE,
    to tell which of them are near misses."""
    started = time.time_ns()
    folders = scanned_folders(project)
    old = _KnownFacts(index, project.pythonpath)
    tree = read_tree(project.root, folders, is_excluded=_build_matcher(project.exclude))
    space = PythonPath(project)
    entries = _read_all(project.root, tree, old, space)
    reader = _ReferenceReader(project.root, tree, old, space)
    modules, broken, problems = [], [], list(_folder_problems(tree))
    for path in sorted(entries):
        row = entries[path][1]
        if row is None:
            continue
        found = rows.from_row(row)
        if isinstance(found, ModuleFacts):
            if _is_name(found.module):
                modules.append(reader.resolve(found))
            elif found.stage and not found.stage.is_off:
                problems.append(_misnamed(found))
        elif isinstance(found, BrokenModule) and _is_name(found.module):
            broken.append(_with_last_stages(found, old))
    conf = reader.conf()
    if isinstance(conf, BrokenModule):
        broken.append(conf)
    passed_over = [PassedOver(path=path, reason=reason) for path, reason in tree.passed_over]
    passed_over += [
        PassedOver(path=path.rstrip("/"), reason="excluded by the configuration")
        for path in tree.excluded
    ]
    if is_wide:
        from discover_orch.discovery import parse_files

        wordless = [(path, space.name(path)) for path, (_, row) in entries.items() if row is None]
        passed_over += parse_files.find_near_misses(project.root, wordless)
    result = Scan(
        modules=tuple(modules),
        broken=tuple(broken),
        conf=conf if isinstance(conf, ConfFacts) else None,
        problems=tuple(problems),
        passed_over=tuple(passed_over),
    )
    snapshot = _build_index(project, tree, folders, key, entries, reader, old, started, modules)
    return result, snapshot


def scanned_folders(project: Project) -> list[str]:
    """The configured packages that are there, relative to the root (`""` is the root)."""
    found = [os.path.relpath(folder, project.root) for folder in resolve_packages(project)]
    return ["" if folder == "." else folder for folder in found]


class PythonPath:
    """Paths of files and names of modules, by the entries of `pythonpath`."""

    def __init__(self, project: Project) -> None:
        entries = [os.path.normpath(entry) for entry in project.pythonpath]
        #: In the order of import, and the deepest first.
        self._starts = list(dict.fromkeys("" if one == "." else one + "/" for one in entries))
        self._entries = sorted(self._starts, key=len, reverse=True)

    def name(self, path: str) -> str:
        """The dotted name, from the deepest entry that holds the path; "" where none does."""
        for entry in self._entries:
            if path.startswith(entry):
                parts = path[len(entry) : -3].split("/")
                if parts[-1] == "__init__":
                    parts.pop()
                return ".".join(parts)
        return ""

    def candidates(self, module: str) -> list[str]:
        """The paths that could hold the module, in the order of import."""
        inside = module.replace(".", "/")
        return [
            entry + inside + ending for entry in self._starts for ending in ("/__init__.py", ".py")
        ]


def _is_name(module: str) -> bool:
    return all(map(str.isidentifier, module.split(".")))


def _build_matcher(patterns: Sequence[str]) -> Callable[[str], bool] | None:
    if not patterns:
        return None
    import pathspec  # only where there are patterns: it costs as much as a small scan

    return pathspec.GitIgnoreSpec.from_lines(patterns).match_file


class _KnownFacts:
    """What the index of the last look still knows; everything is empty where there is none, or where
    `pythonpath` has changed and with it the names of modules, which stand in the facts."""

    def __init__(self, index: Index | None, pythonpath: Sequence[str]) -> None:
        self.files: dict[str, Entry] = {}
        self.exports: dict[str, Entry] = {}
        self.good: dict[str, list[str]] = {}
        text = index.part("facts") if index else None
        if index is None or text is None or index.header.get("pythonpath") != [*pythonpath]:
            return
        try:
            table = json.loads(text)
            self.files = {path: (str(one[0]), one[1]) for path, one in table["files"].items()}
            self.exports = {path: (str(one[0]), one[1]) for path, one in table["exports"].items()}
            self.good = {str(path): list(names) for path, names in table["good"].items()}
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            self.files, self.exports, self.good = {}, {}, {}


def _read_all(root: str, tree: Tree, old: _KnownFacts, space: PythonPath) -> dict[str, Entry]:
    """The row of each file, from the index where its signature is the same."""
    entries: dict[str, Entry] = {}
    changed: list[tuple[str, str]] = []
    for path, signature in tree.signatures.items():
        known = old.files.get(path)
        if known is not None and known[0] == signature:
            entries[path] = known
        else:
            changed.append((path, space.name(path)))
    if changed:
        from discover_orch.discovery import parse_files

        for path, row in parse_files.read_files(root, changed):
            entries[path] = (tree.signatures[path], row)
    return entries


class _ReferenceReader:
    """Reads what facts refer to: modules for their constants, and `orchconf.py`."""

    def __init__(self, root: str, tree: Tree, old: _KnownFacts, space: PythonPath) -> None:
        self._root, self._tree, self._old, self._space = root, tree, old, space
        self.read: dict[str, Entry] = {}
        #: Signatures of the files outside the scanned folders that were asked for.
        self.extras: dict[str, str] = {}
        self._found: dict[str, Exports | None] = {}

    def resolve(self, facts: ModuleFacts) -> ModuleFacts:
        """The facts without references to other modules; most have none."""
        if _is_resolved(facts):
            return facts
        from discover_orch.discovery import parse_files

        return parse_files.resolve(facts, self.exports)

    def exports(self, module: str) -> Exports | None:
        """What the module offers by its source; None where the project has none of that name."""
        if module not in self._found:
            self._found[module] = self._read_exports(module)
        return self._found[module]

    def _read_exports(self, module: str) -> Exports | None:
        for path in self._space.candidates(module):
            row = self._row(path, module)
            if row is not None:
                found = rows.from_row(row)
                return found if isinstance(found, Exports) else None
        return None

    def conf(self) -> ConfFacts | BrokenModule | None:
        row = self._row(CONF, None)  # apart from what another module refers to in it
        found = rows.from_row(row) if row is not None else None
        return found if isinstance(found, ConfFacts | BrokenModule) else None

    def _row(self, path: str, module: str | None) -> Row | None:
        """The row of a file by its signature (of `orchconf.py` where `module` is None); None where there
        is no such file."""
        signature = self._tree.signatures.get(path)
        if signature is None:
            signature = signature_of(os.path.join(self._root, path))
            self.extras[path] = signature
        if signature == ABSENT:
            return None
        key = path if module is not None else _CONF_KEY
        known = self._old.exports.get(key)
        if known is None or known[0] != signature:
            from discover_orch.discovery import parse_files

            row = (
                parse_files.read_orchconf(self._root, path)
                if module is None
                else parse_files.read_exports_of(self._root, path, module)
            )
            known = (signature, row)
        self.read[key] = known
        return known[1]


def _is_resolved(facts: ModuleFacts) -> bool:
    """Whether nothing in the facts names another module."""
    for tag in (facts.stage, facts.after):
        if tag is not None:
            for word in tag.words:
                if isinstance(word, NameRef):
                    return False
    run = facts.run
    if run is None:
        return True
    for one in run.arguments:
        if not isinstance(one.type, (ParamType, UnknownType)):
            return False
    return run.ref is None


def _with_last_stages(broken: BrokenModule, old: _KnownFacts) -> BrokenModule:
    """A broken file belongs to the stage before its error, else to that of its last good scan."""
    last = old.good.get(broken.path, [])
    if broken.stages or not last:
        return broken
    return BrokenModule(
        path=broken.path, module=broken.module, problem=broken.problem, stages=tuple(last)
    )


def _misnamed(found: ModuleFacts) -> Problem:
    folder, _, name = found.path.rpartition("/")
    what = "its name" if not name[:-3].isidentifier() else f"the folder name in {folder}/"
    hint = "use letters, digits and _ only, and no digit first"
    if not found.module:
        what = "an __init__.py in a folder of pythonpath itself"
        hint = "move it into a module of its own"
    return Problem(
        code="misnamed",
        message=f"has a STAGE, but {what} cannot be imported",
        hint=hint,
        location=Location(path=found.path, line=found.stage.line if found.stage else None),
        severity="warning",
    )


def _folder_problems(tree: Tree) -> Iterable[Problem]:
    for path, reason in tree.unreadable:
        yield Problem(
            code="unreadable-folder",
            message=f"cannot be listed: {reason}",
            hint="give yourself the right to read it, or name it in exclude",
            location=Location(path=path or "."),
            severity="warning",
        )


def _build_index(
    project: Project,
    tree: Tree,
    folders: list[str],
    key: str,
    entries: Mapping[str, Entry],
    reader: _ReferenceReader,
    old: _KnownFacts,
    started: int,
    modules: list[ModuleFacts],
) -> ScanIndex:
    """Files that may change again unseen are remembered with a signature that never matches; files that
    hold a secret are read again each time, so that it is never written down."""
    tree.signatures.update(reader.extras)
    for path, signature in tree.signatures.items():
        if is_racy(signature, started):
            tree.signatures[path] = "?" + signature
    header = {
        "key": key,
        "pythonpath": [*project.pythonpath],
        "folders": folders,
        "excluded": sorted(tree.excluded),
        "extras": sorted(reader.extras),
    }

    def make_facts() -> Mapping[str, object]:
        good = dict(old.good)
        for one in modules:
            if one.stage is not None and one.stage.words:
                good[one.path] = [word for word in one.stage.words if isinstance(word, str)]
        return {
            "files": {
                path: (tree.signatures[path], row)
                for path, (_, row) in entries.items()
                if not rows.has_secret(row)
            },
            "exports": {
                key: (tree.signatures[CONF if key == _CONF_KEY else key], row)
                for key, (_, row) in reader.read.items()
                if not rows.has_secret(row)
            },
            "good": {path: stages for path, stages in good.items() if path in entries},
        }

    return ScanIndex(
        header=header, tree=tree.text, signatures=tree.signatures, make_facts=make_facts
    )
