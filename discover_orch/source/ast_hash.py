"""The hash of a module's code: of its syntax tree, without positions.

Comments, blank lines, parentheses and quotes do not count, and docstrings only where the module names `__doc__`.
Else two texts have the same hash exactly where `ast.dump` writes the same of both; that function takes twice as long,
and fails on a deeply nested tree.
"""

from __future__ import annotations

import ast
import marshal
from collections.abc import Callable, Iterable
from operator import attrgetter

from discover_orch.model.digest import content_hash
from discover_orch.source.literals import docstring_of

#: marshal's format without references and interning. In it equal values have equal bytes, and values of two types
#: (1, 1.0, True; "a", b"a") or signs (0.0, -0.0) never have.
_FORMAT = 2
#: Fields that add nothing to a tree made by the parser: where an expression stands says whether it is loaded, stored
#: or deleted, and comments with types are not read.
_LEFT_OUT = ("ctx", "type_comment")

_TAG = "ORCH"
#: The keys of `ORCH` that say how or when a tool is run, not what it does.
OPERATIONAL = frozenset(
    ("retries", "retry_delay", "timeout", "tokens", "cancel", "always", "max_age", "repeatable")
)


def hash_code(tree: ast.Module, data: bytes) -> tuple[str, list[ast.Attribute]]:
    """16 bytes of BLAKE2b, as hex, and all attributes in the tree. `data` is its text.

    The keys of `ORCH` that say how or when a tool is run do not count, nor does an `ORCH` that has no other keys."""
    if b"ORCH" in data:
        body = [kept for one in tree.body if (kept := _without_operational(one)) is not None]
        tree = ast.Module(body=body, type_ignores=tree.type_ignores)
    flat, nodes = _flatten(tree, has_docstrings=b"__doc__" in data)
    attributes = [one for one in nodes if one.__class__ is ast.Attribute]
    return content_hash(marshal.dumps(flat, _FORMAT)), attributes


def _without_operational(statement: ast.stmt) -> ast.stmt | None:
    tag = _tag_of(statement)
    if tag is None:
        return statement
    kept = [
        pair
        for pair in zip(tag.keys, tag.values, strict=True)
        if not (isinstance(pair[0], ast.Constant) and pair[0].value in OPERATIONAL)
    ]
    if len(kept) == len(tag.keys) > 0:
        return statement
    left = ast.Dict(keys=[key for key, _ in kept], values=[item for _, item in kept])
    tag_name = ast.Name(id=_TAG, ctx=ast.Store())
    return ast.Assign(targets=[tag_name], value=left) if kept else None


def _tag_of(statement: ast.stmt) -> ast.Dict | None:
    """The literal of `ORCH = {...}`, plain or annotated."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict() as tag) if name == _TAG:
            return tag
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.Dict() as tag) if name == _TAG:
            return tag
    return None


def _flatten(tree: ast.Module, *, has_docstrings: bool) -> tuple[list[object], list[object]]:
    """The tree level by level: of a node the name of its class, of a list its length, all else as it is; and its
    nodes.

    The class says which fields follow and of what kind each is, so no two trees give one list. There is no recursion:
    the tree may have any depth.
    """
    queue: list[object] = [tree]
    flat: list[object] = []
    for item in queue:  # which grows meanwhile
        kind = item.__class__
        known = _CLASSES.get(kind)
        if known is not None:
            name, fields = known
            flat.append(name)
            values = fields(item)
            if kind in _DOCUMENTED and not has_docstrings:
                body: list[ast.stmt] = item.body  # type: ignore[attr-defined]
                if docstring_of(body) is not None:
                    values = [one[1:] if one is body else one for one in values]
            queue += values
        elif kind is list:
            items: list[object] = item  # type: ignore[assignment]
            flat.append(len(items))
            queue += items
        else:
            flat.append(item)
    return flat, queue


def _read_fields(kind: type[ast.AST]) -> Callable[[object], Iterable[object]]:
    """What gives the values of the fields of a node that count."""
    names = [name for name in kind._fields if name not in _LEFT_OUT]
    if not names:
        return lambda _: ()
    read = attrgetter(*names)
    return read if len(names) > 1 else lambda node: (read(node),)


_DOCUMENTED = frozenset((ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
#: All classes of nodes.
_CLASSES: dict[type, tuple[str, Callable[[object], Iterable[object]]]] = {
    kind: (kind.__name__, _read_fields(kind))
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.AST)
}
