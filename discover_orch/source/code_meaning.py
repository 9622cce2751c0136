"""What the code of a module means: the hash of its syntax tree without positions, and its imports.

Comments, blank lines, parentheses and quotes do not count, and docstrings only where the module names `__doc__`. Else
two texts have the same hash exactly where `ast.dump` writes the same of both; that function takes twice as long, and
fails on a deeply nested tree.

Imports inside functions count too, those under `if TYPE_CHECKING` do not. An attribute of an imported name counts as
an import: of a package it may be a module, `lib.dates` after `import lib`.
"""

from __future__ import annotations

import ast
import marshal
import posixpath
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter

from discover_orch.model.encoding import content_hash
from discover_orch.source.facts import ImportFact
from discover_orch.source.literals import docstring_of, text_of

#: marshal's format without references and interning. In it equal values have equal bytes, and values of two types
#: (1, 1.0, True; "a", b"a") or signs (0.0, -0.0) never have.
MARSHAL_FORMAT = 2
#: Fields that add nothing to a tree made by the parser: where an expression stands says whether it is loaded, stored
#: or deleted, and comments with types are not read.
_LEFT_OUT = ("ctx", "type_comment")

_TAG = "ORCH"
#: The keys of `ORCH` that say how or when a tool is run, not what it does.
OPERATIONAL = frozenset((
    "retries", "retry_delay", "timeout", "tokens", "cancel", "always", "max_age", "repeatable", "replaces",
    "each", "in_order", "column",
))  # fmt: skip


def hash_code(tree: ast.Module, data: bytes) -> tuple[str, list[object]]:
    """16 bytes of BLAKE2b, as hex, and all nodes of the tree. `data` is its text.

    The keys of `ORCH` that say how or when a tool is run do not count, nor does an `ORCH` that has no other keys."""
    if b"ORCH" in data:
        body = [kept for one in tree.body if (kept := without_operational(one)) is not None]
        tree = ast.Module(body=body, type_ignores=tree.type_ignores)
    flat, nodes = flatten([tree], has_docstrings=b"__doc__" in data)
    return content_hash(marshal.dumps(flat[1:], MARSHAL_FORMAT)), nodes


def without_operational(statement: ast.stmt) -> ast.stmt | None:
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


def flatten(
    trees: Iterable[ast.AST], *, has_docstrings: bool = False
) -> tuple[list[object], list[object]]:
    """The trees level by level: of a node the name of its class, of a list its length, all else as it is; and its
    nodes.

    The class says which fields follow and of what kind each is, so no two trees give one list. There is no recursion:
    the tree may have any depth.
    """
    queue: list[object] = [*trees]
    flat: list[object] = [len(queue)]
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


# Imports.

DYNAMIC = frozenset({"import_module", "__import__"})
_BLOCKS = ("body", "handlers", "cases", "orelse", "finalbody")
#: Statements without a block.
_LEAVES = (ast.Expr, ast.Assign, ast.Return, ast.AugAssign, ast.AnnAssign, ast.Raise, ast.Pass)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def read_imports(
    tree: ast.Module,
    attributes: Iterable[ast.Attribute],
    *,
    is_package: bool = False,
    with_calls: bool = True,
) -> tuple[ImportFact, ...]:
    """All imports of a module; `attributes` are all that the tree has; `with_calls` False where no word of DYNAMIC is
    in the text."""
    found: list[ImportFact] = []
    aliases = set(DYNAMIC)
    bound: dict[str, str] = {}
    nodes = [*_walk(tree, with_expressions=with_calls)]
    for node, is_lazy in nodes:
        if isinstance(node, ast.Import):
            for item in node.names:
                top = item.name.partition(".")[0]
                bound[item.asname or top] = item.name if item.asname else top
                found.append(ImportFact(item.name, (), is_lazy))
        elif isinstance(node, ast.ImportFrom):
            aliases.update(item.asname or item.name for item in node.names if item.name in DYNAMIC)
            base = "." * node.level + (node.module or "")
            start = f"{base}." if node.module else base
            bound |= {item.asname or item.name: start + item.name for item in node.names}
            found.append(ImportFact(base, tuple(item.name for item in node.names), is_lazy))
    if with_calls:
        found.extend(_dynamic_imports(nodes, aliases, is_package=is_package))
    if is_package:
        found.extend(_star_members(tree))
    found.extend(_members(attributes, bound))
    return tuple(found)


def read_search_folders(tree: ast.Module, path: str) -> tuple[str, ...]:
    """The folders in the root that a module adds to `sys.path`, "" for the root itself, as far as they are made of
    `__file__` and texts: `sys.path.insert(0, os.path.dirname(__file__))`."""
    names = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=place, attr="insert" | "append"), args=[*_, one]
            ):
                folder = read_path(one, path, names) if ast.unparse(place) == "sys.path" else None
                if folder and not (folder := posixpath.normpath(folder)).startswith(("/", "..")):
                    found["" if folder == "." else folder] = None
    return tuple(found)


def read_path(
    node: ast.expr, path: str = "", names: Mapping[str, ast.expr] | None = None
) -> str | None:
    """The path that an expression gives: made of texts, of `__file__` where `path` is that of the file, and of `names`
    with their values."""
    try:
        return _read_path(node, path, names or {})
    except RecursionError:
        return None


def _read_path(node: ast.expr, path: str, names: Mapping[str, ast.expr]) -> str | None:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id="__file__"):
            return path or None
        case ast.Name(id=name) if name in names:
            return _read_path(names[name], path, {})
        case ast.Attribute(value=inner, attr="parent"):
            return _parent_of(_read_path(inner, path, names), 1)
        case ast.Subscript(
            value=ast.Attribute(value=inner, attr="parents"), slice=ast.Constant(value=int(number))
        ):
            return _parent_of(_read_path(inner, path, names), min(number, 99) + 1)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            parts = [_read_path(one, path, names) for one in (left, right)]
            return posixpath.join(*filter(None, parts)) if all(parts) else None
        case ast.Call(func=ast.Name(id="Path") | ast.Attribute(attr="Path"), args=[]):
            return "."
        case ast.Call(func=ast.Attribute(value=inner, attr="resolve" | "absolute"), args=[]):
            return _read_path(inner, path, names)
        case ast.Call(func=ast.Name(id=function) | ast.Attribute(attr=function), args=[one, *more]):
            found = _read_path(one, path, names)
            if function == "dirname":
                return _parent_of(found, 1)
            parts = [found, *(_read_path(part, path, names) for part in more)]
            if function in ("Path", "str", "fspath", "abspath", "realpath", "normpath", "join"):
                return posixpath.join(*filter(None, parts)) if all(parts) else None
    return None


def _parent_of(path: str | None, steps: int) -> str | None:
    for _ in range(steps):
        path = path and (posixpath.dirname(path) or ("" if path in ("", ".") else "."))
    return path or None


def _walk(tree: ast.Module, *, with_expressions: bool) -> Iterator[tuple[ast.AST, bool]]:
    """All nodes that can run, each before what is in it, and whether it is in a function: then importing the module
    does not run it. Decorators and defaults run at once."""
    pending: list[tuple[ast.AST, bool]] = [(tree, False)]
    while pending:
        node, is_lazy = pending.pop()
        yield node, is_lazy
        if not with_expressions and isinstance(node, _LEAVES):
            continue
        children: Iterable[ast.AST]
        if isinstance(node, ast.If):
            children = _live_branches(node)
        elif with_expressions:
            children = ast.iter_child_nodes(node)
        else:  # five times as fast
            children = [one for name in _BLOCKS for one in getattr(node, name, ())]
        inside: set[ast.AST] = set()
        if isinstance(node, _FUNCTIONS):
            inside = {node.body} if isinstance(node, ast.Lambda) else {*node.body}
        pending += [
            (child, is_lazy or child in inside)
            for child in reversed([*children])
            if with_expressions or not isinstance(child, ast.expr)
        ]


def _live_branches(node: ast.If) -> list[ast.AST]:
    """The test and the branches that can run: `if TYPE_CHECKING` is for type checkers only."""
    match node.test:
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return [*node.orelse]
        case ast.UnaryOp(op=ast.Not(), operand=ast.Name(id=name) | ast.Attribute(attr=name)):
            if name == "TYPE_CHECKING":
                return [*node.body]
    return [node.test, *node.body, *node.orelse]


def _members(attributes: Iterable[ast.Attribute], bound: Mapping[str, str]) -> list[ImportFact]:
    """`lib.dates` in the code, for each imported name `lib` that is not of the standard library."""
    found: dict[ImportFact, None] = {}
    for node in attributes:
        parts = [node.attr]
        owner = node.value
        while isinstance(owner, ast.Attribute):
            parts.append(owner.attr)
            owner = owner.value
        known = bound.get(owner.id) if isinstance(owner, ast.Name) else None
        if known is not None and known.partition(".")[0] not in sys.stdlib_module_names:
            last, *inner = parts
            package = ".".join((known, *reversed(inner)))
            found[ImportFact(package, (last,), is_lazy=True)] = None
    return [*found]


def _star_members(tree: ast.Module) -> Iterator[ImportFact]:
    """`from p import *` imports the modules that `__all__` of the package names."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            names = tuple(
                item.value
                for item in ast.walk(node)
                if isinstance(item, ast.Constant) and isinstance(item.value, str)
            )
            if names:
                yield ImportFact(".", names)


def _dynamic_imports(
    nodes: Iterable[tuple[ast.AST, bool]], aliases: set[str], *, is_package: bool
) -> Iterator[ImportFact]:
    """Calls of `import_module` and `__import__`; any other use of these names is an import that cannot be read."""
    called: set[ast.AST] = set()
    for node, is_lazy in nodes:
        if isinstance(node, ast.Call) and _is_dynamic(node.func, aliases):
            called.add(node.func)
            yield ImportFact(_called_module(node, is_package=is_package), (), is_lazy)
        elif _is_dynamic(node, aliases) and node not in called and not _is_set(node):
            yield ImportFact("", (), is_lazy)


def _is_dynamic(node: ast.AST, aliases: set[str]) -> bool:
    if isinstance(node, ast.Name):
        return node.id in aliases
    return isinstance(node, ast.Attribute) and node.attr in DYNAMIC


def _is_set(node: ast.AST) -> bool:
    return not isinstance(getattr(node, "ctx", None), ast.Load)


def _called_module(node: ast.Call, *, is_package: bool) -> str:
    """The module of a call with a literal argument, and with `__package__` where that is relative; "" where it cannot
    be read."""
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    given |= zip(("name", "package"), node.args, strict=False)
    first, anchor = given.get("name"), given.get("package")
    name = text_of(first) if first else None
    if not name or len(node.args) > 2 or not given.keys() <= {"name", "package"}:
        return ""
    is_own = isinstance(anchor, ast.Name) and (
        anchor.id == "__package__" or (anchor.id == "__name__" and is_package)
    )
    return name if is_own or not name.startswith(".") else ""
