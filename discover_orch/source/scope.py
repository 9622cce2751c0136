"""The names that a module binds at its top level, and what an expression there means.

`ModuleScope.value(expression)` gives a constant or a `NameRef`; `resolve` says what that refers to.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from msgspec import Struct

from discover_orch.source.facts import NameRef
from discover_orch.source.literals import NotLiteral, is_showable, literal, text_of

ENUMS = {
    "enum.Enum": False,
    "enum.IntEnum": False,
    "enum.StrEnum": True,  # True: auto() gives the name in lower case
    "enum.ReprEnum": False,
}
MAX_FOLLOWED = 30  # names followed within one module
BUILTIN_TYPES = frozenset({"str", "int", "float", "bool", "list"})

EnumMembers = tuple[tuple[str, str | int | None], ...]
Value = str | int | tuple[str | NameRef, ...] | NameRef | None


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
    """`names`: all bindings of each name, the first one first.

    A name bound in a block of `if`, `try` or `for`, by unpacking or within an expression is noted with how it is
    bound, since its value is uncertain. Bodies of functions and classes are not read; `import *` binds nothing.
    """

    def __init__(self, tree: ast.Module, package: str) -> None:
        self.names: dict[str, list[Binding]] = {}
        self._package = package
        for index, node in enumerate(tree.body):
            self._bind(node, index)

    def _add(
        self, name: str, index: int, line: int, node: ast.AST | NameRef | None, where: str = ""
    ) -> None:
        self.names.setdefault(name, []).append(Binding(index, line, node, where))

    def _bind(self, node: ast.stmt, index: int) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                self._walk(value, index)
                for target in targets:
                    if isinstance(target, ast.Name):
                        self._add(target.id, index, node.lineno, value)
                    else:
                        self._walk(target, index, "by unpacking")
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                self._walk(value, index)
                self._add(name, index, node.lineno, value)
            case ast.Delete():
                for one in ast.walk(node):
                    if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Del):
                        gone = Binding(index, node.lineno, None, is_deleted=True)
                        self.names.setdefault(one.id, []).append(gone)
            case ast.AugAssign():
                self._walk(node, index, "by augmented assignment")
            case _ if hasattr(node, "body") or isinstance(node, ast.Match):
                kind = type(node).__name__.removeprefix("Async").removesuffix("Star").lower()
                is_name = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
                self._walk(node, index, "" if is_name else f"inside `{kind}`")
            case _:
                self._walk(node, index)

    def _walk(self, start: ast.AST, index: int, where: str = "") -> None:
        """All that is bound in this part of a statement, in blocks and expressions at any depth. What a comprehension
        binds is its own."""
        pending = [start]
        while pending:
            node = pending.pop()
            children: Iterable[ast.AST] = ast.iter_child_nodes(node)
            match node:
                case ast.Import() | ast.ImportFrom():
                    self._bind_imports(node, index, where)
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    self._add(node.name, index, node.lineno, node, where)
                    children = [*node.decorator_list, node.args]
                case ast.ClassDef():
                    self._add(node.name, index, node.lineno, node, where)
                    children = [*node.decorator_list, *node.bases, *node.keywords]
                case ast.Lambda():
                    children = [node.args]
                case ast.AnnAssign(value=None):
                    continue
                case ast.comprehension():
                    children = [node.iter, *node.ifs]
                case ast.NamedExpr():
                    self._add(node.target.id, index, node.lineno, None, "inside an expression")
                    children = [node.value]
                case ast.Name(ctx=ast.Store() | ast.Del()):
                    self._add(node.id, index, node.lineno, None, where)
                case ast.ExceptHandler(name=str(name)) | ast.MatchMapping(rest=str(name)):
                    self._add(name, index, getattr(node, "lineno", 1), None, where)
                case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                    self._add(name, index, node.lineno, None, where)
                case _ if type(node).__name__ == "TypeAlias":
                    self._add(node.name.id, index, node.lineno, node.value)  # type: ignore[attr-defined]
                    continue
            pending.extend(reversed([*children]))

    def _bind_imports(self, node: ast.Import | ast.ImportFrom, index: int, where: str) -> None:
        if isinstance(node, ast.Import):
            for item in node.names:
                top = item.name.partition(".")[0]
                ref = NameRef(name=item.name if item.asname else top)
                self._add(item.asname or top, index, node.lineno, ref, where)
            return
        base = absolute(node.module, node.level, self._package)
        for item in node.names:
            if item.name != "*":
                ref = NameRef(name=f"{base}.{item.name}")
                self._add(item.asname or item.name, index, node.lineno, ref, where)


def absolute(module: str | None, level: int, package: str) -> str:
    """The absolute name of the module in `from ...module import`; "" where it is above the top package."""
    if not level:
        return module or ""
    parts = package.split(".") if package else []
    if level - 1 >= len(parts):
        return ""
    base = ".".join(parts[: len(parts) - (level - 1)])
    return f"{base}.{module}" if module else base


class Unreadable(Exception):
    """The value of an expression cannot be read from the source; the text is a clause that says why."""


class ModuleScope:
    """All top-level bindings of a module."""

    def __init__(self, tree: ast.Module, module: str, is_package: bool = False) -> None:
        self.module = module
        self.package = module if is_package else module.rpartition(".")[0]
        self.bindings = Bindings(tree, self.package).names
        self._enums: dict[int, EnumMembers | None] = {}

    def last(self, name: str, before: int | None = None) -> Binding | None:
        """The last binding of the name, or the last before a statement; None if there is none."""
        for binding in reversed(self.bindings.get(name, ())):
            if before is None or binding.index < before:
                return None if binding.is_deleted else binding
        return None

    # -- what expressions mean

    def value(self, node: ast.expr, before: int) -> Value:
        """The constant that the expression is, or a `NameRef` to what it names, in this module too. Raises
        Unreadable."""
        text = text_of(node)
        if text is not None:
            if not is_showable(text):
                raise Unreadable("it contains characters that cannot be shown")
            return text
        if isinstance(node, ast.Constant) and node.value is None:
            return None
        if isinstance(node, (ast.Tuple, ast.List)):
            return tuple(self._item(item, before) for item in node.elts)
        if isinstance(node, (ast.Name, ast.Attribute)):
            return self._reference(node, before)
        raise Unreadable("it is a number" if isinstance(node, ast.Constant) else "it is computed")

    def _item(self, node: ast.expr, before: int) -> str | NameRef:
        is_number = isinstance(node, ast.Constant) and not isinstance(node.value, str)
        if not is_number and not isinstance(node, (ast.Tuple, ast.List)):
            value = self.value(node, before)
            if isinstance(value, (str, NameRef)):
                return value
        raise Unreadable("it contains something other than strings")

    def _reference(self, node: ast.expr, before: int) -> NameRef:
        root, name = node, self.qualified(node)
        while isinstance(root, ast.Attribute):
            root = root.value
        if not isinstance(root, ast.Name):
            raise Unreadable("it is computed")
        binding = self.last(root.id, before)
        if binding is None or name is None:
            raise Unreadable(f"`{root.id}` is not defined above")
        if binding.where:
            raise Unreadable(f"`{root.id}` is set {binding.where}")
        if binding is not self.last(root.id):
            raise Unreadable(f"`{root.id}` is set again below")
        return NameRef(name=name)

    # -- classes

    def enum_members(self, node: ast.ClassDef) -> EnumMembers | None:
        """The members of an Enum class in source order; None where it is not an Enum."""
        key = id(node)
        if key not in self._enums:
            self._enums[key] = None  # a class that is its own base
            self._enums[key] = self._read_enum(node)
        return self._enums[key]

    def _read_enum(self, node: ast.ClassDef) -> EnumMembers | None:
        lower = self._enum_kind(node, MAX_FOLLOWED)
        if lower is None:
            return None
        is_str = any(self.qualified(base) == "builtins.str" for base in node.bases) or lower
        makes_values = {"__new__", "__init__", "_generate_next_value_"} & {
            item.name for item in node.body if isinstance(item, ast.FunctionDef)
        }
        members: dict[str, str | int | None] = {}
        for name, expression in _class_assignments(node):
            if name.startswith("_") or _is_call_of(expression, "nonmember"):
                continue
            if makes_values:
                members[name] = None
            elif _is_call_of(expression, "auto"):
                members[name] = name.lower() if lower else None
            elif isinstance(expression, ast.Name) and expression.id in members:
                members[name] = members[expression.id]
            else:
                value = self._member_constant(expression)
                members[name] = str(value) if is_str and value is not None else value
        return tuple(members.items())

    def _enum_kind(self, node: ast.ClassDef, steps: int) -> bool | None:
        """Whether auto() gives the name in lower case; None where the class is not an Enum."""
        for base in node.bases:
            name = self.qualified(base)
            if name in ENUMS:
                return ENUMS[name]
            binding = self.last(base.id) if isinstance(base, ast.Name) else None
            if binding is not None and isinstance(binding.node, ast.ClassDef) and steps > 0:
                kind = self._enum_kind(binding.node, steps - 1)
                if kind is not None:
                    return kind
        return None

    def _member_constant(self, node: ast.expr) -> str | int | None:
        """A literal, or a constant of the module that is one."""
        binding = self.last(node.id) if isinstance(node, ast.Name) else None
        try:
            value = literal(
                binding.node if binding and isinstance(binding.node, ast.expr) else node
            )
        except NotLiteral:
            return None
        return value if isinstance(value, (str, int)) else None

    def class_constants(self, node: ast.ClassDef, before: int) -> Iterator[tuple[str, Value]]:
        """The constants of a class; of several with one name the last one."""
        for name, expression in dict(_class_assignments(node)).items():
            try:
                yield name, self.value(expression, before)
            except Unreadable:
                continue

    # -- names in annotations; imports under `if TYPE_CHECKING` count here

    def qualified(self, node: ast.expr) -> str | None:
        """`dt.date` as "datetime.date", `str` as "builtins.str", `Color` of this module as "src.tool.Color"; None for
        what is not bound."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        binding = self.last(node.id)
        if binding is None:
            if node.id in BUILTIN_TYPES and node.id not in self.bindings:
                root = f"builtins.{node.id}"
            else:
                return None
        elif isinstance(binding.node, NameRef):
            root = binding.node.name
        else:
            root = f"{self.module}.{node.id}"
        return ".".join([root, *reversed(parts)])


def _class_assignments(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    for item in node.body:
        match item:
            case ast.Assign(targets=targets, value=value):
                yield from ((one.id, value) for one in targets if isinstance(one, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value


def _is_call_of(node: ast.expr, name: str) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called)):
            return called == name
    return False
