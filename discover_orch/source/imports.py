"""Lists the imports of a module, those inside functions too, but not those under `if TYPE_CHECKING`."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from discover_orch.source.bindings import absolute
from discover_orch.source.facts import ImportFact
from discover_orch.source.literals import text_of

DYNAMIC = frozenset({"import_module", "__import__"})
_BLOCKS = ("body", "handlers", "cases", "orelse", "finalbody")
#: Statements without a block.
_LEAVES = (ast.Expr, ast.Assign, ast.Return, ast.AugAssign, ast.AnnAssign, ast.Raise, ast.Pass)
#: The module and the names of a call that cannot be read.
_UNREAD: tuple[str, tuple[str, ...]] = ("", ())
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def read_imports(
    tree: ast.Module, *, module: str, is_package: bool = False, with_calls: bool = True
) -> tuple[ImportFact, ...]:
    """All imports of a module, in source order; `with_calls` False where no word of DYNAMIC is in the text."""
    package = module if is_package else module.rpartition(".")[0]
    found: list[ImportFact] = []
    aliases = set(DYNAMIC)
    nodes = [*_walk(tree, with_expressions=with_calls)]
    for node, is_lazy in nodes:
        if isinstance(node, ast.Import):
            found.extend(
                ImportFact(kind="import", module=item.name, line=node.lineno, is_lazy=is_lazy)
                for item in node.names
            )
        elif isinstance(node, ast.ImportFrom):
            aliases.update(item.asname or item.name for item in node.names if item.name in DYNAMIC)
            base = absolute(node.module, node.level, package)
            if base:  # else it points above the top, and fails when it runs
                names = tuple(item.name for item in node.names)
                found.append(
                    ImportFact(
                        kind="from", module=base, names=names, line=node.lineno, is_lazy=is_lazy
                    )
                )
    if with_calls:
        found.extend(_dynamic_imports(nodes, module, package, aliases))
    if is_package:
        found.extend(_star_members(tree, module))
    found.sort(key=lambda fact: fact.line)
    return tuple(found)


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


def _star_members(tree: ast.Module, module: str) -> Iterator[ImportFact]:
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
                yield ImportFact(kind="from", module=module, names=names, line=node.lineno)


def _dynamic_imports(
    nodes: Iterable[tuple[ast.AST, bool]], module: str, package: str, aliases: set[str]
) -> Iterator[ImportFact]:
    """Calls of `import_module` and `__import__`; any other use of these names is an import that cannot be read."""
    called: set[ast.AST] = set()
    for node, is_lazy in nodes:
        target, names = _UNREAD
        if isinstance(node, ast.Call) and _is_dynamic(node.func, aliases):
            called.add(node.func)
            target, names = _called_module(node, module, package)
        elif not _is_dynamic(node, aliases) or node in called or _is_set(node):
            continue
        line = getattr(node, "lineno", 1)
        yield ImportFact(kind="dynamic", module=target, names=names, line=line, is_lazy=is_lazy)


def _is_dynamic(node: ast.AST, aliases: set[str]) -> bool:
    if isinstance(node, ast.Name):
        return node.id in aliases
    return isinstance(node, ast.Attribute) and node.attr in DYNAMIC


def _is_set(node: ast.AST) -> bool:
    return not isinstance(getattr(node, "ctx", None), ast.Load)


def _called_module(node: ast.Call, module: str, package: str) -> tuple[str, tuple[str, ...]]:
    """The module of a call with literal arguments, and the names of `fromlist`; "" where it cannot be read."""
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    first = node.args[0] if node.args else given.get("name")
    name = None if first is None else text_of(first)
    if not name or None in given or "level" in given or len(node.args) > 4:
        return _UNREAD
    if not name.startswith("."):
        names = given.get("fromlist", node.args[3] if len(node.args) > 3 else None)
        return name, _literal_names(names)
    anchor = node.args[1] if len(node.args) > 1 else given.get("package")
    if isinstance(anchor, ast.Name):
        base = {"__name__": module, "__package__": package}.get(anchor.id)
    else:
        base = text_of(anchor) if anchor else None
    if not base:
        return _UNREAD
    level = len(name) - len(name.lstrip("."))
    return absolute(name[level:] or None, level, base), ()


def _literal_names(node: ast.expr | None) -> tuple[str, ...]:
    if not isinstance(node, (ast.Tuple, ast.List)):
        return ()
    return tuple(text for text in map(text_of, node.elts) if text)
