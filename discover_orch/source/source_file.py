"""All that is known of one Python file: what discovery asks of it, what its code means, and which names it imports. It
is read at once.

The parser is loaded only where a file is parsed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.model.conventions import CONF_FILE, SQL_SUFFIX
from discover_orch.model.encoding import content_hash
from discover_orch.model.errors import Problem
from discover_orch.model.pieces import Pieces
from discover_orch.source.facts import (
    BrokenTool,
    ConfFacts,
    ImportFact,
    ModuleFacts,
    Tag,
    absolute,
    has_secret,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast

    from discover_orch.source.scope import Lookup

SIZE_LIMIT = 2_000_000
_WORD = b"STAGE"
#: Whether Python says which functions ran (`sys.monitoring`).
KNOWS_FUNCTIONS = sys.version_info >= (3, 12)


class SourceFile(Struct, frozen=True, array_like=True, omit_defaults=True):
    """A file as it was last read.

    `mark` is that of just before; `hash` that of the bytes, "" where they cannot be read. `facts` are those of a
    file with the word STAGE, or what `orchconf.py` offers; `last_stage` is the tag of the last text that had
    one. `rests_on` are the files of other modules that the facts were looked up in, with the hashes of their bytes, ""
    for those that were not there.

    What the code means is read once it was asked for (`has_code`): `meaning` is the hash of the syntax tree, without
    what only says how a tool is run. `folders` are those in the root that it adds to `sys.path`. A file with a
    `problem` has the meaning and the imports of the last text that could be parsed, "" and none if no text could be.
    """

    mark: str
    hash: str = ""
    is_blank: bool = False
    facts: ModuleFacts | BrokenTool | ConfFacts | None = None
    last_stage: Tag | None = None
    rests_on: Mapping[str, str] = {}
    meaning: str = ""
    imports: tuple[ImportFact, ...] = ()
    folders: tuple[str, ...] = ()
    problem: Problem | None = None
    pieces: Pieces | None = None

    @property
    def has_code(self) -> bool:
        return self.meaning != "" or self.problem is not None

    @property
    def has_secret(self) -> bool:
        return has_secret(self.facts)

    @property
    def version(self) -> str:
        """The same where the code is the same. A text that cannot be parsed means its bytes: how it fails depends on
        them, and code that imports it can catch that."""
        return self.meaning if self.problem is None else self.hash


def read_source_file(
    data: bytes,
    path: str,
    module: str,
    mark: str,
    known: SourceFile | None,
    *,
    with_code: bool,
    lookup: Lookup,
) -> SourceFile:
    """The file with these bytes. Its code is read `with_code`, or where that of the `known` file was. `lookup` is for
    what its tags and types name in other modules. Never raises."""
    digest = content_hash(data)
    has_facts = known is not None and known.hash == digest
    if known is not None and known.hash == digest:
        file = replace(known, mark=mark)
    else:
        file = SourceFile(mark, digest, is_blank=not data.strip())
    if path.endswith(SQL_SUFFIX):
        return file if has_facts and file.has_code else _read_sql(file, data, path, module)
    is_conf, is_tool = path == CONF_FILE, _WORD in data
    tree: ast.Module | None = None
    if not file.has_code and (with_code or (known is not None and known.has_code)):
        tree, file = _read_code(file, data, path, is_tool=is_tool)
    if has_facts or not (is_tool or is_conf):
        return file
    from discover_orch.source.read_module import read_conf, read_module

    if is_conf:
        return replace(file, facts=read_conf(data, path))
    if len(data) > SIZE_LIMIT:
        return replace(file, facts=_too_large(path, module, len(data)))
    facts = read_module(data, module=module, path=path, tree=tree, lookup=lookup)
    return replace(file, facts=facts)


def _read_sql(file: SourceFile, data: bytes, path: str, module: str) -> SourceFile:
    """The code of a SQL file is read with its facts. One that is no tool means its bytes."""
    from discover_orch.source.read_sql import MARK, read_sql

    if not MARK.search(data):
        return replace(file, facts=None, meaning=file.hash)
    is_large = len(data) > SIZE_LIMIT
    found = (
        _too_large(path, module, len(data))
        if is_large
        else read_sql(data, module=module, path=path)
    )
    if isinstance(found, BrokenTool):
        return replace(file, facts=found, problem=found.problems[0])
    facts, meaning = found
    return replace(file, facts=facts, meaning=meaning)


def _read_code(
    file: SourceFile, data: bytes, path: str, *, is_tool: bool
) -> tuple[ast.Module | None, SourceFile]:
    import ast

    from discover_orch.source.code_meaning import (
        DYNAMIC,
        hash_code,
        read_imports,
        read_search_folders,
    )
    from discover_orch.source.code_pieces import read_pieces
    from discover_orch.source.parse import PARSE_ERRORS, build_problem, ignore_warnings, parse

    with ignore_warnings():
        try:
            tree = parse(data)
            meaning, nodes = hash_code(tree, data)
            if b"__file__" in data:  # at another place it means something else
                meaning = content_hash(f"{meaning} {path}".encode())
            imports = read_imports(
                tree,
                [one for one in nodes if one.__class__ is ast.Attribute],
                is_package=path.endswith("__init__.py"),
                with_calls=any(word.encode() in data for word in DYNAMIC),
            )
            folders = read_search_folders(tree, path) if b"sys.path" in data else ()
            pieces = read_pieces(tree, nodes, data, path) if KNOWS_FUNCTIONS else None
        except PARSE_ERRORS as error:
            problem = build_problem(error, data, path)
            if not is_tool:
                problem = replace(problem, hint="fix the syntax error")
            return None, replace(file, problem=problem)
    file = replace(
        file,
        meaning=meaning,
        imports=imports,
        folders=folders,
        pieces=pieces,
    )
    return tree, file


def with_packages(name: str) -> Iterator[str]:
    """The module and the packages that are imported with it: `a`, `a.b`, `a.b.c` for `a.b.c`."""
    position = -1 if name[:1] == "/" else name.find(".")
    while position >= 0:
        yield name[:position]
        position = name.find(".", position + 1)
    yield name


def names_of(facts: Iterable[ImportFact], package: str) -> tuple[str, ...]:
    """All names that these imports look up in this package, each once, packages before what is in them."""
    found: dict[str, None] = {}
    for fact in facts:  # of thousands of files
        module = absolute(fact.module, package) if fact.module[:1] == "." else fact.module
        if "." in module:
            found.update(dict.fromkeys(with_packages(module)))
        elif module:
            found[module] = None
        for name in fact.names:
            if module and name != "*":
                found[f"{module}.{name}"] = None
    return tuple(found)


def _too_large(path: str, module: str, size: int) -> BrokenTool:
    shown = "" if path.endswith(SQL_SUFFIX) else f"{size / 1e6:.1f} MB, "  # only its start was read
    problem = Problem(
        code="too-large",
        message=f"contains STAGE, but is too large to be read ({shown}limit 2 MB)",
        hint="move its data into a data file, or add the file to exclude",
        path=path,
    )
    return BrokenTool(path=path, module=module, problems=(problem,))
