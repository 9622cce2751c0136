"""What a module means: a hash of its syntax tree without positions.

Comments, blank lines, parentheses and quotes do not count; docstrings do, since help shows them. Two texts
have the same meaning exactly where `ast.dump` writes the same of both. That function takes more than twice
as long, and it refuses what is nested deeply. In: a tree as a parser makes it. Pure.
"""

from __future__ import annotations

import ast
import marshal
from collections.abc import Callable, Sequence
from operator import attrgetter, is_

from discover_orch.model.digest import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: marshal's format without references and interning: there equal values have equal bytes, and values of
#: two types (1, 1.0, True; "a", b"a") or signs (0.0, -0.0) never.
_FORMAT = 2
#: Fields that hold no nodes, of the classes that are met most. All others are found out one by one.
_PLAIN = {
    "Name": ("id",),
    "Constant": ("value", "kind"),
    "Attribute": ("attr",),
    "arg": ("arg",),
    "keyword": ("arg",),
    "alias": ("name", "asname"),
    "FunctionDef": ("name",),
    "ClassDef": ("name",),
    "FormattedValue": ("conversion",),
    "comprehension": ("is_async",),
}
#: What adds nothing to a tree that a parser made: where an expression stands says whether it is loaded,
#: stored or deleted, and comments with types are not read.
_LEFT_OUT = ("ctx", "type_comment")

_TAG = "ORCH"
#: Its keys that do not count.
OPERATIONAL = frozenset(("retries", "retry_delay", "timeout", "tokens", "cancel"))

#: Of a class of nodes: its name, what gets the plain fields and what the others; of each of these the
#: getter where there are several, then the one where there is only one.
_Get = Callable[["Any"], "Any"] | None
_Kind = tuple[str, _Get, _Get, _Get, _Get]
_kinds: dict[type, _Kind] = {}


def hash_module(tree: ast.Module) -> str:
    """16 bytes of BLAKE2b, as hex."""
    return blake2b(marshal.dumps(_flatten(tree), _FORMAT), digest_size=16).hexdigest()


def hash_behaviour(tree: ast.Module) -> str:
    """The meaning less the keys of the tag ORCH that say how a tool is run, not what it does."""
    return hash_module(_without_operational(tree))


def _without_operational(tree: ast.Module) -> ast.Module:
    """The tree itself, or where it has such keys one without them; a tag of which nothing is left is no tag."""
    body: list[ast.stmt] = []
    for one in tree.body:
        tag = _tag_of(one)
        if tag is None:
            body.append(one)
            continue
        kept = [
            pair
            for pair in zip(tag.keys, tag.values, strict=True)
            if not (isinstance(pair[0], ast.Constant) and pair[0].value in OPERATIONAL)
        ]
        if len(kept) == len(tag.keys) > 0:
            body.append(one)
        elif kept:
            left = ast.Dict(keys=[key for key, _ in kept], values=[item for _, item in kept])
            body.append(ast.Assign(targets=[ast.Name(id=_TAG, ctx=ast.Store())], value=left))
    if len(body) == len(tree.body) and all(map(is_, body, tree.body)):
        return tree
    return ast.Module(body=body, type_ignores=tree.type_ignores)


def _tag_of(statement: ast.stmt) -> ast.Dict | None:
    """The literal of `ORCH = {...}`, plain or annotated."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict() as tag) if name == _TAG:
            return tag
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.Dict() as tag) if name == _TAG:
            return tag
    return None


def _flatten(tree: ast.Module) -> list[object]:
    """The tree level by level: of a node its class, of a list its length, all else as it is.

    The class tells which fields follow and of what kind they are, so no two trees give one list. The tree
    may be as deep as it likes.
    """
    known = (_kinds or _read_kinds()).get
    queue: list[Any] = [tree]
    flat: list[object] = []
    put, put_all, later, later_all = flat.append, flat.extend, queue.append, queue.extend
    for item in queue:  # it grows meanwhile
        kind = known(item.__class__)
        if kind is not None:
            name, plain, only_plain, inner, only_inner = kind
            put(name)
            if plain is not None:
                put_all(plain(item))
            elif only_plain is not None:
                put(only_plain(item))
            if inner is not None:
                later_all(inner(item))
            elif only_inner is not None:
                later(only_inner(item))
        elif item.__class__ is list:
            put(len(item))
            later_all(item)
        else:
            put(item)
    return flat


def _read_kinds() -> dict[type, _Kind]:
    for kind in vars(ast).values():
        if isinstance(kind, type) and issubclass(kind, ast.AST):
            plain = _PLAIN.get(kind.__name__, ())
            inner = [one for one in kind._fields if one not in plain and one not in _LEFT_OUT]
            _kinds[kind] = (kind.__name__, *_getters(plain), *_getters(inner))
    return _kinds


def _getters(fields: Sequence[str]) -> tuple[_Get, _Get]:
    if not fields:
        return None, None
    get = attrgetter(*fields)
    return (get, None) if len(fields) > 1 else (None, get)
