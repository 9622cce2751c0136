"""What is known of one Python file: what its code means, and which names its imports look up.

The parser is loaded only where a file is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from msgspec import Struct

from discover_orch.model.digest import content_hash
from discover_orch.model.errors import Problem
from discover_orch.source.facts import ImportFact

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast

#: Words of code that changes where Python looks for modules, or goes past it: then any module may be imported.
_MOVES_PLACES = (
    *(b"sys.path", b"__path__", b"from sys import", b"spec_from_file_location"),
    *(b"SourceFileLoader", b"runpy", b"pkgutil"),
)
#: Without word boundaries, which would take ten times as long. A match too many costs only time.
_DEPENDS_ON_ITS_NAME = re.compile(rb"from\s*(?:\\\s*)?\.|import_module|__import__|__all__")
_TAG = b"ORCH"


class SourceFile(Struct, frozen=True, array_like=True, omit_defaults=True):
    """A file as it was last read.

    `signature` is that of just before; `hash` that of the bytes, "" where they cannot be read; `meaning` that of the
    syntax tree, without what only says how a tool is run. `names` are those that its imports look up, packages before
    what is in them. `has_unread`: it may import any module. `depends_on_name`: under another module name than its own,
    it may import something else.

    A file with a `problem` has the meaning and the names of the last text that could be parsed, "" and none if no text
    could be.
    """

    signature: str
    hash: str
    meaning: str = ""
    names: tuple[str, ...] = ()
    has_unread: bool = False
    depends_on_name: bool = False
    is_blank: bool = False
    problem: Problem | None = None

    @property
    def version(self) -> str:
        """The same where the code is the same. A text that cannot be parsed means its bytes: how it fails depends on
        them, and code that imports it can catch that."""
        return self.meaning if self.problem is None else self.hash


def read_source_file(
    tree: ast.Module, data: bytes, path: str, module: str
) -> tuple[SourceFile, tuple[ImportFact, ...]]:
    """The file of this tree, without a signature, and its imports. Raises one of PARSE_ERRORS."""
    from discover_orch.source.ast_hash import hash_behaviour, hash_module

    facts = read_import_facts(tree, data, path, module)
    file = SourceFile(
        signature="",
        hash=content_hash(data),
        meaning=hash_behaviour(tree) if _TAG in data else hash_module(tree),
        names=names_of(facts),
        has_unread=any(word in data for word in _MOVES_PLACES)
        or not all(one.module for one in facts),
        depends_on_name=_DEPENDS_ON_ITS_NAME.search(data) is not None,
        is_blank=not data.strip(),
    )
    return file, facts


def read_import_facts(
    tree: ast.Module, data: bytes, path: str, module: str
) -> tuple[ImportFact, ...]:
    """The imports of a file that is loaded as `module`."""
    from discover_orch.source.imports import DYNAMIC, read_imports

    return read_imports(
        tree,
        module=module,
        is_package=path.endswith("__init__.py"),
        with_calls=any(word.encode() in data for word in DYNAMIC),
    )


def with_packages(name: str) -> Iterator[str]:
    """The module and the packages that are imported with it: `a`, `a.b`, `a.b.c` for `a.b.c`."""
    position = -1 if name[:1] == "/" else name.find(".")
    while position >= 0:
        yield name[:position]
        position = name.find(".", position + 1)
    yield name


def names_of(facts: Iterable[ImportFact]) -> tuple[str, ...]:
    """All names that these imports look up, each once."""
    found: dict[str, None] = {}
    for fact in facts:
        if fact.module:
            found.update(dict.fromkeys(with_packages(fact.module)))
            found.update((f"{fact.module}.{name}", None) for name in fact.names if name != "*")
    return tuple(found)
