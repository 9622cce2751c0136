"""The names that a module binds at its top level, and what an expression there means.

`ModuleScope.value(expression)` gives a constant, or a `NameRef` to another module; the other methods say what names
in annotations are.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from msgspec import Struct

from discover_orch.model.parameter import EnumChoice
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
            if item.name != "*":
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
        """The constant that the expression is, or a `NameRef`; raises Unreadable."""
        return self._value(node, before, MAX_FOLLOWED)

    def _value(self, node: ast.expr, before: int, steps: int) -> Value:
        text = text_of(node)
        if text is not None:
            if not is_showable(text):
                raise Unreadable("it contains characters that cannot be shown")
            return text
        if isinstance(node, ast.Constant) and node.value is None:
            return None
        if isinstance(node, (ast.Tuple, ast.List)):
            return tuple(self._item(item, before, steps) for item in node.elts)
        if isinstance(node, ast.Name):
            return self._named(node, before, steps)
        if isinstance(node, ast.Attribute):
            return self._attribute(node, before, steps)
        raise Unreadable("it is a number" if isinstance(node, ast.Constant) else "it is computed")

    def _item(self, node: ast.expr, before: int, steps: int) -> str | NameRef:
        is_number = isinstance(node, ast.Constant) and not isinstance(node.value, str)
        if not is_number and not isinstance(node, (ast.Tuple, ast.List)):
            value = self._value(node, before, steps)
            if isinstance(value, (str, NameRef)):
                return value
        raise Unreadable("it contains something other than strings")

    def _named(self, node: ast.Name, before: int, steps: int) -> Value:
        binding = self.last(node.id, before)
        if binding is None:
            raise Unreadable(f"`{node.id}` is not defined above")
        if binding.where:
            raise Unreadable(f"`{node.id}` is set {binding.where}")
        if isinstance(binding.node, NameRef):
            return binding.node
        if isinstance(binding.node, ast.expr) and steps > 0:
            return self._value(binding.node, binding.index, steps - 1)
        raise Unreadable(f"`{node.id}` is not a constant")

    def _attribute(self, node: ast.Attribute, before: int, steps: int) -> Value:
        parts: list[str] = []
        root: ast.expr = node
        while isinstance(root, ast.Attribute):
            parts.append(root.attr)
            root = root.value
        if not isinstance(root, ast.Name):
            raise Unreadable("it is computed")
        parts.reverse()
        text = ".".join([root.id, *parts])
        owner = self._owner(root, before, steps)
        if isinstance(owner, NameRef):
            return NameRef(name=".".join([owner.name, *parts]))
        members = self.enum_members(owner)
        if members is not None:
            return _member_value(dict(members), parts, text)
        if len(parts) == 1:
            for name, value in self.class_constants(owner, before):
                if name == parts[0]:
                    return value
        raise Unreadable(f"`{text}` is not a constant")

    def _owner(self, root: ast.Name, before: int | None, steps: int) -> NameRef | ast.ClassDef:
        """What stands before the dot: a class of this module, or a reference to another module."""
        binding = self.last(root.id, before)
        if binding is not None and not binding.where:
            if isinstance(binding.node, (NameRef, ast.ClassDef)):
                return binding.node
            if isinstance(binding.node, ast.Name) and steps > 0:
                return self._owner(binding.node, binding.index, steps - 1)
            if isinstance(binding.node, ast.Attribute) and steps > 0:
                value = self._attribute(binding.node, binding.index, steps - 1)
                if isinstance(value, NameRef):
                    return value
        raise Unreadable(f"`{root.id}` is not a class or module of the project")

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
                value = self._member_constant(expression, node)
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

    def _member_constant(self, node: ast.expr, owner: ast.ClassDef) -> str | int | None:
        try:
            value = literal(node)
        except NotLiteral:
            binding = self.last(owner.name)
            try:
                value = self.value(node, binding.index if binding else 0)
            except Unreadable:
                return None
        return value if isinstance(value, (str, int)) else None

    def class_constants(
        self, node: ast.ClassDef, before: int
    ) -> Iterator[tuple[str, str | tuple[str | NameRef, ...] | None]]:
        """The constants of a class; of several with one name the last one."""
        last = dict(_class_assignments(node))
        for name, expression in last.items():
            try:
                value = self._value(expression, before, MAX_FOLLOWED)
            except Unreadable:
                continue
            if not isinstance(value, (NameRef, int)):
                yield name, value

    # -- names in annotations; imports under `if TYPE_CHECKING` count here

    def qualified(self, node: ast.expr) -> str | None:
        """`dt.date` as "datetime.date", `str` as "builtins.str"; None for a name defined in this module."""
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
            return None
        return ".".join([root, *reversed(parts)])

    def enum_choice(self, node: ast.expr) -> EnumChoice | None:
        """The Enum class of this module that the expression names."""
        binding = self.last(node.id) if isinstance(node, ast.Name) else None
        if binding is None or not isinstance(binding.node, ast.ClassDef):
            return None
        members = self.enum_members(binding.node)
        if members is None:
            return None
        texts = tuple((name, name if value is None else str(value)) for name, value in members)
        return EnumChoice(module=self.module, name=binding.node.name, members=texts)

    def type_alias(self, node: ast.expr) -> ast.expr | None:
        """What the name stands for, where this module has `name = <type>`."""
        binding = self.last(node.id) if isinstance(node, ast.Name) else None
        if binding is None or not isinstance(binding.node, ast.expr):
            return None
        return binding.node


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


def _member_value(members: dict[str, str | int | None], parts: list[str], text: str) -> str:
    if parts[0] in members and parts[1:] in ([], ["value"]):
        value = members[parts[0]]
        if isinstance(value, str):
            return value
        raise Unreadable(f"the value of `{text}` is not a string")
    if parts[0] in members and parts[1:] == ["name"]:
        return parts[0]
    raise Unreadable(f"`{text}` is not a member")
