"""The eye: looks at the project's tree and reads, never imports, what stands there.

In: a `Project` and the index of the last look. Out: a `Scan`, and a `Snapshot` that the next look can start
from. Only files whose signature changed are read; only those that hold the word STAGE are parsed. A big
first look is shared with a forked child: nothing of the user's runs in either. Writes nothing.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from discover_orch import facts_rows as rows
from discover_orch.config import resolve_packages
from discover_orch.errors import Location, Problem
from discover_orch.facts import Broken, ConfFacts, Exports, ModuleFacts
from discover_orch.names import read_exports, resolve_module
from discover_orch.project import Project
from discover_orch.scan import PassedOver, Scan
from discover_orch.source import read_conf, read_module, read_near_miss
from discover_orch.store import Index
from discover_orch.syntax import FAILURES, parse, quiet
from discover_orch.tree import ABSENT, Tree, is_racy, read_tree, signature_of
from discover_orch.value import field, value

WORD = b"STAGE"
CONF = "orchconf.py"
SIZE_LIMIT = 2_000_000
#: Below this many files to read, a second process costs more than it saves (measured: about 15 ms).
SHARE_FROM = 150
MOST_PROCESSES = 8

Row = list[object]
Entry = tuple[str, Row | None]


@value
class Snapshot:
    """What the next look starts from: the header and the parts of the index, less the listing."""

    header: Mapping[str, object]
    parts: Mapping[str, str] = field(default_factory=dict)


def scan(
    project: Project, index: Index | None = None, *, fingerprint: str = "", is_wide: bool = False
) -> tuple[Scan, Snapshot]:
    """`fingerprint` stands for the configuration; `is_wide` also reads the files without the word STAGE,
    to tell which of them are near misses."""
    started = time.time_ns()
    folders = scanned_folders(project)
    old = _Memory(index)
    tree = read_tree(project.root, folders, is_excluded=_judge(project.exclude))
    space = ModuleSpace(project)
    entries = _read_all(project.root, tree, old, space)
    reader = _Reader(project.root, tree, old, space)
    modules, broken, problems = [], [], list(_folder_problems(tree))
    for path in sorted(entries):
        row = entries[path][1]
        if row is None:
            continue
        found = rows.from_row(row)
        if isinstance(found, Broken):
            if space.is_named_well(path):
                broken.append(_with_last_stages(found, old))
        elif not space.is_named_well(path):
            if isinstance(found, ModuleFacts) and found.stage and not found.stage.is_off:
                problems.append(_misnamed(found))
        elif isinstance(found, ModuleFacts):
            modules.append(resolve_module(found, reader.exports))
    conf = reader.conf()
    if isinstance(conf, Broken):
        broken.append(conf)
    passed_over = [PassedOver(path=path, reason=reason) for path, reason in tree.passed_over]
    passed_over += [
        PassedOver(path=path.rstrip("/"), reason="excluded by the configuration")
        for path in tree.excluded
    ]
    if is_wide:
        passed_over += _near_misses(project.root, entries, space)
    result = Scan(
        modules=tuple(modules),
        broken=tuple(broken),
        conf=conf if isinstance(conf, ConfFacts) else None,
        problems=tuple(problems),
        passed_over=tuple(passed_over),
    )
    return result, _snapshot(tree, folders, fingerprint, entries, reader, old, started, modules)


def scanned_folders(project: Project) -> list[str]:
    """The configured packages that are there, relative to the root (`""` is the root)."""
    found = [os.path.relpath(folder, project.root) for folder in resolve_packages(project)]
    return ["" if folder == "." else folder for folder in found]


class ModuleSpace:
    """Paths of files and names of modules, by the entries of `pythonpath`."""

    def __init__(self, project: Project) -> None:
        entries = [os.path.normpath(entry) for entry in project.pythonpath]
        self._root = project.root
        self._entries = sorted(
            {"" if entry == "." else entry + "/" for entry in entries}, key=len, reverse=True
        )

    def name(self, path: str) -> str:
        """The dotted name, from the deepest entry that holds the path; "" where none does."""
        for entry in self._entries:
            if path.startswith(entry):
                parts = path[len(entry) : -3].split("/")
                if parts[-1] == "__init__":
                    parts.pop()
                return ".".join(parts)
        return ""

    def is_named_well(self, path: str) -> bool:
        return all(part.isidentifier() for part in self.name(path).split("."))

    def candidates(self, module: str) -> list[str]:
        """The paths that could hold the module, in the order of import."""
        inside = module.replace(".", "/")
        return [
            entry + inside + ending
            for entry in self._entries[::-1]
            for ending in ("/__init__.py", ".py")
        ]


def _judge(patterns: Sequence[str]) -> Callable[[str], bool] | None:
    if not patterns:
        return None
    import pathspec  # only where there are patterns: it costs as much as a small scan

    return pathspec.GitIgnoreSpec.from_lines(patterns).match_file


class _Memory:
    """What the index of the last look still knows; everything is empty where there is none."""

    def __init__(self, index: Index | None) -> None:
        self.files: dict[str, Entry] = {}
        self.exports: dict[str, Entry] = {}
        self.good: dict[str, list[str]] = {}
        text = index.part("facts") if index else None
        if text is None:
            return
        try:
            table = json.loads(text)
            self.files = {path: (str(one[0]), one[1]) for path, one in table["files"].items()}
            self.exports = {path: (str(one[0]), one[1]) for path, one in table["exports"].items()}
            self.good = {str(path): list(names) for path, names in table["good"].items()}
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            self.files, self.exports, self.good = {}, {}, {}


def _read_all(root: str, tree: Tree, old: _Memory, space: ModuleSpace) -> dict[str, Entry]:
    """The row of each file, from the index where its signature is the same."""
    entries: dict[str, Entry] = {}
    changed: list[tuple[str, str]] = []
    for path, signature in tree.signatures.items():
        known = old.files.get(path)
        if known is not None and known[0] == signature:
            entries[path] = known
        else:
            changed.append((path, space.name(path)))
    for path, row in _read_rows(root, changed):
        entries[path] = (tree.signatures[path], row)
    return entries


def _read_rows(root: str, files: list[tuple[str, str]]) -> list[tuple[str, Row | None]]:
    processes = min(MOST_PROCESSES, os.cpu_count() or 1, len(files) // SHARE_FROM + 1)
    if processes < 2 or not hasattr(os, "fork") or threading.active_count() > 1:
        return [(path, _read_row(root, path, module)) for path, module in files]
    children = [_fork_reader(root, files[part::processes]) for part in range(1, processes)]
    found = [(path, _read_row(root, path, module)) for path, module in files[::processes]]
    for part, (pid, pipe) in enumerate(children, start=1):
        with os.fdopen(pipe, "rb") as answer:
            data = answer.read()
        os.waitpid(pid, 0)
        mine = files[part::processes]
        try:
            read = json.loads(data)
            found += [(path, row) for (path, _), row in zip(mine, read, strict=True)]
        except ValueError:  # the child was killed: its share is read here
            found += [(path, _read_row(root, path, module)) for path, module in mine]
    return found


def _fork_reader(root: str, files: list[tuple[str, str]]) -> tuple[int, int]:
    """A child that reads its share and answers with one JSON list. It shares no lock: there is one thread."""
    receive, send = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.close(send)
        return pid, receive
    try:
        os.close(receive)
        found = [_read_row(root, path, module) for path, module in files]
        with os.fdopen(send, "wb") as answer:
            answer.write(json.dumps(found).encode())
    finally:
        os._exit(0)


def _read_row(root: str, path: str, module: str) -> Row | None:
    """The facts of one file as a row; None where it cannot be a tool."""
    data = _read_bytes(os.path.join(root, path))
    if data is None:
        return None
    if isinstance(data, Problem):
        place = Location(path=path)
        problem = Problem(code=data.code, message=data.message, hint=data.hint, location=place)
        return rows.to_row(Broken(path=path, module=module, problem=problem))
    if WORD not in data:
        return None
    is_package = path.endswith("__init__.py")
    return rows.to_row(read_module(data, module=module, path=path, is_package=is_package))


def _read_bytes(path: str) -> bytes | Problem | None:
    """The bytes of a regular file, None where it is none or has gone, a Problem where it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Problem(
            code="unreadable",
            message=f"cannot be read: {error.strerror}",
            hint="give yourself the right to read it, or name it in exclude",
        )
    try:
        st = os.fstat(descriptor)
        if not stat.S_ISREG(st.st_mode):
            return None
        if st.st_size > SIZE_LIMIT:
            return _too_large(descriptor, st.st_size)
        parts = []
        while part := os.read(descriptor, max(st.st_size + 1, 65536)):
            parts.append(part)
        return b"".join(parts)
    except OSError as error:
        return Problem(code="unreadable", message=f"cannot be read: {error.strerror}")
    finally:
        os.close(descriptor)


def _too_large(descriptor: int, size: int) -> Problem | None:
    tail = b""
    while part := os.read(descriptor, 1 << 20):
        if WORD in tail + part:
            return Problem(
                code="too-large",
                message=f"holds STAGE and is too large to be read ({size / 1e6:.1f} MB, limit 2 MB)",
                hint="move its data into a data file, or name it in exclude",
            )
        tail = part[-len(WORD) :]
    return None


class _Reader:
    """Reads what facts refer to: modules for their constants, and `orchconf.py`."""

    def __init__(self, root: str, tree: Tree, old: _Memory, space: ModuleSpace) -> None:
        self._root, self._tree, self._old, self._space = root, tree, old, space
        self.read: dict[str, Entry] = {}
        #: Signatures of the files outside the scanned folders that were asked for.
        self.extras: dict[str, str] = {}
        self._found: dict[str, Exports | None] = {}

    def exports(self, module: str) -> Exports | None:
        """What the module offers by its source; None where the project has none of that name."""
        if module not in self._found:
            self._found[module] = self._read_exports(module)
        return self._found[module]

    def _read_exports(self, module: str) -> Exports | None:
        for path in self._space.candidates(module):
            entry = self._entry(path, _exports_row(module))
            if entry is None:
                continue
            found = rows.from_row(entry[1]) if entry[1] is not None else None
            return found if isinstance(found, Exports) else None
        return None

    def conf(self) -> ConfFacts | Broken | None:
        entry = self._entry(CONF, lambda path, data: read_conf(data, path=path))
        if entry is None or entry[1] is None:
            return None
        found = rows.from_row(entry[1])
        return found if isinstance(found, ConfFacts | Broken) else None

    def _entry(
        self, path: str, read: Callable[[str, bytes], Exports | ConfFacts | Broken]
    ) -> Entry | None:
        """The row of a file by its signature, or None where there is no such file."""
        signature = self._tree.signatures.get(path)
        if signature is None:
            signature = signature_of(os.path.join(self._root, path))
            self.extras[path] = signature
        if signature == ABSENT:
            return None
        known = self._old.exports.get(path)
        if known is None or known[0] != signature:
            data = _read_bytes(os.path.join(self._root, path))
            row = None
            if isinstance(data, bytes):
                row = rows.to_row(read(path, data))
            elif isinstance(data, Problem) and path == CONF:
                place = Location(path=path)
                problem = Problem(code=data.code, message=data.message, location=place)
                row = rows.to_row(Broken(path=path, module="orchconf", problem=problem))
            known = (signature, row)
        self.read[path] = known
        return known


def _exports_row(module: str) -> Callable[[str, bytes], Exports]:
    def read(path: str, data: bytes) -> Exports:
        is_package = path.endswith("__init__.py")
        with quiet():
            try:
                return read_exports(parse(data), module, is_package)
            except FAILURES:  # whoever refers to it is told that nothing is found there
                return Exports(module=module)

    return read


def _near_misses(
    root: str, entries: Mapping[str, Entry], space: ModuleSpace
) -> Iterable[PassedOver]:
    for path, (_, row) in entries.items():
        if row is not None:
            continue
        data = _read_bytes(os.path.join(root, path))
        if not isinstance(data, bytes) or b"run" not in data or WORD in data:
            continue
        found = read_near_miss(data, module=space.name(path), path=path)
        if isinstance(found, ModuleFacts) and found.miss:
            yield PassedOver(path=path, reason=found.miss, line=found.miss_line)


def _with_last_stages(broken: Broken, old: _Memory) -> Broken:
    """A broken file belongs to the stage before its error, else to that of its last good scan."""
    last = old.good.get(broken.path, [])
    if broken.stages or not last:
        return broken
    return Broken(
        path=broken.path, module=broken.module, problem=broken.problem, stages=tuple(last)
    )


def _misnamed(found: ModuleFacts) -> Problem:
    folder, _, name = found.path.rpartition("/")
    what = "its name" if not name[:-3].isidentifier() else f"the folder name in {folder}/"
    return Problem(
        code="misnamed",
        message=f"has a STAGE, but {what} cannot be imported",
        hint="use letters, digits and _ only, and no digit first",
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


def _snapshot(
    tree: Tree,
    folders: list[str],
    fingerprint: str,
    entries: Mapping[str, Entry],
    reader: _Reader,
    old: _Memory,
    started: int,
    modules: list[ModuleFacts],
) -> Snapshot:
    """Files that may change again unseen are remembered with a signature that never matches."""
    tree.signatures.update(reader.extras)
    for path, signature in tree.signatures.items():
        if is_racy(signature, started):
            tree.signatures[path] = "?" + signature
    good = dict(old.good)
    for one in modules:
        if one.stage is not None and one.stage.words:
            good[one.path] = [word for word in one.stage.words if isinstance(word, str)]
    table = {
        "files": {path: (tree.signatures[path], row) for path, (_, row) in entries.items()},
        "exports": {path: (tree.signatures[path], row) for path, (_, row) in reader.read.items()},
        "good": {path: stages for path, stages in good.items() if path in entries},
    }
    header = {
        "fingerprint": fingerprint,
        "folders": folders,
        "excluded": sorted(tree.excluded),
        "extras": sorted(reader.extras),
    }
    return Snapshot(header=header, parts={"tree": tree.text, "facts": json.dumps(table)})
