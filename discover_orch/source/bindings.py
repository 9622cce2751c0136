"""The names that a module binds at its top level, in order.

A name bound in a block of `if`, `try` or `for`, by unpacking or within an expression is noted with how it is bound,
since its value is uncertain. The bodies of functions and classes are not read.
"""

from __future__ import annotations

import ast

from msgspec import Struct

from discover_orch.source.facts import NameRef


class Binding(Struct, frozen=True):
    """One binding of a name: what it is bound to, and the index of the statement in the module.

    `where` is "" for a plain binding at the top level, else it says how the name is bound: "inside `if`".
    `node` is None where the value cannot be read; `is_deleted` is set by `del`.
    """

    index: int
    line: int
    node: ast.AST | NameRef | None
    where: str = ""
    is_deleted: bool = False


class Bindings:
    """`names`: all bindings of each name, the first one first; `stars`: modules of `import *`."""

    def __init__(self, tree: ast.Module, package: str) -> None:
        self.names: dict[str, list[Binding]] = {}
        self.stars: list[str] = []
        self._package = package
        for index, node in enumerate(tree.body):
            self._bind_walrus(node, index)
            self._bind(node, index, "")

    def _add(
        self, name: str, index: int, line: int, node: ast.AST | NameRef | None, where: str
    ) -> None:
        self.names.setdefault(name, []).append(Binding(index, line, node, where))

    def _bind(self, node: ast.stmt, index: int, where: str) -> None:
        if isinstance(node, ast.Expr):
            return
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            self._add(node.name, index, node.lineno, node, where)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            self._bind_imports(node, index, where)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    self._add(target.id, index, node.lineno, node.value, where)
                else:
                    self._bind_target(target, index, where or "by unpacking")
        elif isinstance(node, ast.AnnAssign):
            if node.value is not None and isinstance(node.target, ast.Name):
                self._add(node.target.id, index, node.lineno, node.value, where)
        elif isinstance(node, ast.AugAssign):
            self._bind_target(node.target, index, "by augmented assignment")
        elif isinstance(node, ast.Delete):
            for name in [name for target in node.targets for name in names_in(target)]:
                gone = Binding(index, node.lineno, None, where, is_deleted=not where)
                self.names.setdefault(name, []).append(gone)
        else:
            self._bind_compound(node, index)

    def _bind_imports(self, node: ast.Import | ast.ImportFrom, index: int, where: str) -> None:
        if isinstance(node, ast.Import):
            for item in node.names:
                top = item.name.partition(".")[0]
                ref = NameRef(name=item.name if item.asname else top)
                self._add(item.asname or top, index, node.lineno, ref, where)
            return
        base = absolute(node.module, node.level, self._package)
        for item in node.names:
            if item.name == "*":
                self.stars.append(base)
            else:
                ref = NameRef(name=f"{base}.{item.name}")
                self._add(item.asname or item.name, index, node.lineno, ref, where)

    def _bind_target(self, target: ast.expr, index: int, where: str) -> None:
        for name in names_in(target):
            self._add(name, index, target.lineno, None, where)

    def _bind_compound(self, node: ast.stmt, index: int) -> None:
        """Everything that a statement with a block binds, at any depth, but not inside functions."""
        pending: list[ast.AST] = [node]
        where = f"inside `{type(node).__name__.removeprefix('Async').removesuffix('Star').lower()}`"
        while pending:
            current = pending.pop()
            if current.__class__.__name__ == "TypeAlias":
                self._add(current.name.id, index, current.lineno, current.value, "")  # type: ignore[attr-defined]
                continue
            if isinstance(current, (ast.For, ast.AsyncFor)):
                self._bind_target(current.target, index, where)
            elif isinstance(current, (ast.With, ast.AsyncWith)):
                for item in current.items:
                    if item.optional_vars is not None:
                        self._bind_target(item.optional_vars, index, where)
            elif isinstance(current, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
                if current.name:
                    self._add(current.name, index, current.lineno, None, where)
            elif isinstance(current, ast.MatchMapping) and current.rest:
                self._add(current.rest, index, current.lineno, None, where)
            children: list[ast.AST] = []
            for child in ast.iter_child_nodes(current):
                if isinstance(child, ast.stmt) and not _is_compound(child):
                    self._bind(child, index, where)
                elif not isinstance(child, ast.expr):
                    children.append(child)
            pending.extend(reversed(children))

    def _bind_walrus(self, node: ast.stmt, index: int) -> None:
        """`:=` in an expression at the top level; one in a comprehension binds there too."""
        pending: list[ast.AST] = [node]
        while pending:
            current = pending.pop()
            if isinstance(current, ast.NamedExpr):
                self._bind_target(current.target, index, "inside an expression")
            if isinstance(current, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                pending.extend(current.decorator_list)
                if isinstance(current, ast.ClassDef):
                    pending.extend([*current.bases, *current.keywords])
                else:
                    pending.append(current.args)
            elif isinstance(current, ast.Lambda):
                pending.append(current.args)
            else:
                pending.extend(ast.iter_child_nodes(current))


def absolute(module: str | None, level: int, package: str) -> str:
    """The absolute name of the module in `from ...module import`; "" where it is above the top package."""
    if not level:
        return module or ""
    parts = package.split(".") if package else []
    if level - 1 >= len(parts):
        return ""
    base = ".".join(parts[: len(parts) - (level - 1)])
    return f"{base}.{module}" if module else base


def names_in(target: ast.expr) -> list[str]:
    """The names that a target binds, at any depth."""
    names: list[str] = []
    pending = [target]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Name):
            names.append(node.id)
        elif isinstance(node, (ast.Tuple, ast.List)):
            pending.extend(reversed(node.elts))
        elif isinstance(node, ast.Starred):
            pending.append(node.value)
    return names


def _is_compound(node: ast.stmt) -> bool:
    return (
        hasattr(node, "body")
        and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    ) or isinstance(node, ast.Match)
