"""The names that a module binds at its top level, and what an expression means through all modules of a project.

`ModuleScope.value` gives the constant that an expression is; `find` what a name stands for: something of the project,
wherever that is defined, or the absolute name of something else. Nothing is imported: the caller passes a `lookup`
that gives the scope of another module.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from msgspec import Struct

from discover_orch.model.parameter import SCALARS
from discover_orch.source.facts import absolute
from discover_orch.source.literals import NotLiteral, is_showable, literal, text_of

ENUMS = {
    "enum.Enum": False,
    "enum.IntEnum": False,
    "enum.StrEnum": True,  # True: auto() gives the name in lower case
    "enum.ReprEnum": False,
}
MAX_FOLLOWED = 10  # names and base classes followed, one to the other
BUILTIN_TYPES = frozenset({"str", "int", "float", "bool", "list"})
#: Modules whose names mean the same in each project, so that none of its files is looked at.
_OUTSIDE = frozenset(
    {
        *("typing", "typing_extensions", "enum", "discover_orch"),
        *(name.rpartition(".")[0] for name in SCALARS),
    }
)

Value = str | tuple[str, ...] | None
#: The scope of a module of the project by its name; None where there is none, or it cannot be parsed.
Lookup = Callable[[str], "ModuleScope | None"]


class Binding(Struct, frozen=True):
    """One binding of a name: what it is bound to (of an import the absolute name), and the index of the statement in
    the module.

    `where` is "" for a plain binding at the top level, else it says how the name is bound: "inside `if`".
    `node` is None where the value cannot be read; `is_deleted` is set by `del`.
    """

    index: int
    line: int
    node: ast.AST | str | None
    where: str = ""
    is_deleted: bool = False


def read_bindings(tree: ast.Module, package: str) -> dict[str, list[Binding]]:
    """All bindings of each name at the top level, the first one first.

    A name bound in a block of `if`, `try` or `for`, by unpacking or within an expression is noted with how it is
    bound, since its value is uncertain. Bodies of functions and classes are not read; `import *` binds nothing.
    """
    names: dict[str, list[Binding]] = {}
    for index, node in enumerate(tree.body):
        for name, binding in _bind(node, index, package):
            names.setdefault(name, []).append(binding)
    return names


Bound = Iterator[tuple[str, Binding]]


def _bind(node: ast.stmt, index: int, package: str) -> Bound:
    walk = partial(_walk, index=index, package=package)
    match node:
        case ast.Assign(targets=targets, value=value):
            yield from walk(value)
            for target in targets:
                if isinstance(target, ast.Name):
                    yield target.id, Binding(index, node.lineno, value)
                else:
                    yield from walk(target, where="by unpacking")
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            yield from walk(value)
            yield name, Binding(index, node.lineno, value)
        case ast.Delete():
            for one in ast.walk(node):
                if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Del):
                    yield one.id, Binding(index, node.lineno, None, is_deleted=True)
        case ast.AugAssign():
            yield from walk(node, where="by augmented assignment")
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield from walk(node)
        case _ if hasattr(node, "body") or isinstance(node, ast.Match):
            kind = type(node).__name__.removeprefix("Async").removesuffix("Star").lower()
            yield from walk(node, where=f"inside `{kind}`")
        case _:
            yield from walk(node)


def _walk(start: ast.AST, where: str = "", *, index: int, package: str) -> Bound:
    """All that is bound in this part of a statement, in blocks and expressions at any depth. What a comprehension
    binds is its own."""
    pending = [start]
    while pending:
        node = pending.pop()
        children: Iterable[ast.AST] = ast.iter_child_nodes(node)
        match node:
            case ast.Import() | ast.ImportFrom():
                for name, imported in _read_import(node, package):
                    yield name, Binding(index, node.lineno, imported, where)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node.name, Binding(index, node.lineno, node, where)
                children = [*node.decorator_list, node.args]
            case ast.ClassDef():
                yield node.name, Binding(index, node.lineno, node, where)
                children = [*node.decorator_list, *node.bases, *node.keywords]
            case ast.Lambda():
                children = [node.args]
            case ast.AnnAssign(value=None):
                continue
            case ast.comprehension():
                children = [node.iter, *node.ifs]
            case ast.NamedExpr():
                yield node.target.id, Binding(index, node.lineno, None, "inside an expression")
                children = [node.value]
            case (
                ast.Name(id=name, ctx=ast.Store() | ast.Del())
                | ast.ExceptHandler(name=str(name))
                | ast.MatchMapping(rest=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
            ):
                yield name, Binding(index, node.lineno, None, where)
            case _ if type(node).__name__ == "TypeAlias":
                yield node.name.id, Binding(index, node.lineno, node.value)  # type: ignore[attr-defined]
                continue
        pending.extend(reversed([*children]))


def _read_import(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, str]]:
    """The names that it binds, and what these are called elsewhere."""
    if isinstance(node, ast.Import):
        for item in node.names:
            top = item.name.partition(".")[0]
            yield item.asname or top, item.name if item.asname else top
        return
    base = absolute("." * node.level + (node.module or ""), package)
    for item in node.names:
        if item.name != "*":
            yield item.asname or item.name, f"{base}.{item.name}"


class Unreadable(Exception):
    """The value of an expression cannot be read from the source; the text is a clause that says why."""


class _NoConstant(Unreadable):
    """A name leads nowhere, behind the first binding."""


class Outside(Struct, frozen=True):
    """Something that the project does not define, by its absolute name: `datetime.date`."""

    name: str


class Definition(Struct, frozen=True):
    """An expression, a class or a function of the project, and the scope and the statement in which it stands."""

    scope: ModuleScope
    node: ast.AST
    index: int


class Member(Struct, frozen=True):
    """A member of an Enum; `value` is None where it is neither a string nor an int."""

    enum: Definition
    name: str
    value: str | int | None


class ModuleScope:
    """All top-level bindings of a module, and what they mean. `lookup` gives the other modules of the project."""

    def __init__(
        self,
        tree: ast.Module,
        module: str,
        is_package: bool = False,
        lookup: Lookup = lambda _: None,
    ) -> None:
        self.module = module
        self.package = module if is_package else module.rpartition(".")[0]
        self.bindings = read_bindings(tree, self.package)
        self._lookup = lookup

    def last(self, name: str, before: int | None = None) -> Binding | None:
        """The last binding of the name, or the last before a statement; None if there is none."""
        for binding in reversed(self.bindings.get(name, ())):
            if before is None or binding.index < before:
                return None if binding.is_deleted else binding
        return None

    # -- what expressions mean

    def value(self, node: ast.expr, before: int) -> Value:
        """The constant that the expression is, or that it names. Raises Unreadable."""
        text = text_of(node)
        if text is not None:
            if not is_showable(text):
                raise Unreadable("it contains characters that cannot be shown")
            return text
        if isinstance(node, ast.Constant) and node.value is None:
            return None
        if isinstance(node, (ast.Tuple, ast.List)):
            return tuple(self._item(item, before) for item in node.elts)
        if not isinstance(node, (ast.Name, ast.Attribute)):
            raise Unreadable(
                "it is a number" if isinstance(node, ast.Constant) else "it is computed"
            )
        with contextlib.suppress(_NoConstant):
            match self.find(node, before):
                case Member(value=str(text)):
                    return text
                case Definition(scope=scope, node=ast.expr() as inner, index=index):
                    with contextlib.suppress(Unreadable):
                        return scope.value(inner, index)
        raise Unreadable(f"`{self._absolute(node, before)}` is not a constant of the project")

    def _item(self, node: ast.expr, before: int) -> str:
        is_number = isinstance(node, ast.Constant) and not isinstance(node.value, str)
        if not is_number and not isinstance(node, (ast.Tuple, ast.List)):
            value = self.value(node, before)
            if isinstance(value, str):
                return value
        raise Unreadable("it contains something other than strings")

    def find(
        self, node: ast.expr, before: int | None = None, steps: int = MAX_FOLLOWED
    ) -> Outside | Definition | Member:
        """What a name or an attribute stands for, through other names and modules. Raises Unreadable.

        `before` is the statement that the expression is in. Without it, as in an annotation, the last binding counts,
        and imports under `if TYPE_CHECKING` do.
        """
        parts = _parts(node)
        if not parts:
            raise Unreadable("it is computed")
        name, *rest = parts
        binding = self.last(name, before)
        if binding is None:
            if before is None and name in BUILTIN_TYPES:
                return Outside(f"builtins.{name}")
            raise Unreadable(f"`{name}` is not defined above")
        if binding.where and (before is not None or not isinstance(binding.node, str)):
            raise Unreadable(f"`{name}` is set {binding.where}")
        return self._follow(binding, rest, steps)

    def outside(self, node: ast.expr, steps: int = MAX_FOLLOWED) -> str:
        """The absolute name of what the project does not define: `datetime.date` for `dt.date`; "" for all else."""
        with contextlib.suppress(Unreadable):
            found = self.find(node, None, steps)
            return found.name if isinstance(found, Outside) else ""
        return ""

    def _absolute(self, node: ast.expr, before: int) -> str:
        name, *rest = _parts(node)
        binding = self.last(name, before)
        is_import = binding is not None and isinstance(binding.node, str)
        root = binding.node if binding is not None and is_import else f"{self.module}.{name}"
        return ".".join([str(root), *rest])

    def _follow(
        self, binding: Binding, rest: Sequence[str], steps: int
    ) -> Outside | Definition | Member:
        """What `rest`, an attribute of an attribute, is of what is bound there."""
        match binding.node:
            case str(imported):
                return self._find_absolute(".".join([imported, *rest]), steps)
            case ast.ClassDef() as node if rest:
                return self._find_in_class(node, binding, rest, steps)
            case ast.Name() | ast.Attribute() as node if parts := _parts(node):
                return self._enter(parts[0], [*parts[1:], *rest], binding.index, steps)
            case ast.AST() as node if not rest:
                return Definition(self, node, binding.index)
        raise _NoConstant

    def _enter(
        self, name: str, rest: Sequence[str], before: int | None, steps: int
    ) -> Outside | Definition | Member:
        binding = self.last(name, before)
        if binding is None or binding.where or steps == 0:
            raise _NoConstant
        return self._follow(binding, rest, steps - 1)

    def _find_absolute(self, name: str, steps: int) -> Outside | Definition | Member:
        """The longest leading part that is a module of the project counts, or a shorter one: `__init__.py` may bind
        the name of a submodule."""
        parts = name.split(".")
        is_known = False
        for size in range(len(parts) - 1, 0, -1) if parts[0] not in _OUTSIDE else ():
            module = ".".join(parts[:size])
            scope = self if module == self.module else self._lookup(module)
            if scope is not None:
                is_known = True
                with contextlib.suppress(_NoConstant):
                    return scope._enter(parts[size], parts[size + 1 :], None, steps)
        if is_known:
            raise _NoConstant
        return Outside(name)

    def _find_in_class(
        self, node: ast.ClassDef, binding: Binding, rest: Sequence[str], steps: int
    ) -> Outside | Definition | Member:
        """A member of an Enum, its `value` or `name`, or a constant of another class."""
        first, more = rest[0], rest[1:]
        enum = Definition(self, node, binding.index)
        members = self.enum_members(node, steps - 1)
        if members is None:
            expression = dict(_class_assignments(node)).get(first)
            if expression is None:
                raise _NoConstant
            return self._follow(Binding(binding.index, binding.line, expression), more, steps)
        if first in members:
            value = members[first]
            if not more:
                return Member(enum, first, value)
            constant = {"value": value, "name": first}.get(more[0]) if len(more) == 1 else None
            if constant is not None:
                return Definition(self, ast.Constant(value=constant), binding.index)
        raise _NoConstant

    # -- Enums

    def enum_members(
        self, node: ast.ClassDef, steps: int = MAX_FOLLOWED
    ) -> dict[str, str | int | None] | None:
        """The members of an Enum class in source order, with their values; None where it is not an Enum."""
        lower = self._enum_kind(node, steps) if steps > 0 else None
        if lower is None:
            return None
        is_str = lower or any(self.outside(one, steps - 1) == "builtins.str" for one in node.bases)
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
        return members

    def _enum_kind(self, node: ast.ClassDef, steps: int) -> bool | None:
        """Whether auto() gives the name in lower case; None where the class is not an Enum."""
        for base in node.bases if steps > 0 else ():
            with contextlib.suppress(Unreadable):
                match self.find(base, None, steps - 1):
                    case Outside(name=name) if name in ENUMS:
                        return ENUMS[name]
                    case Definition(scope=scope, node=ast.ClassDef() as inner):
                        kind = scope._enum_kind(inner, steps - 1)
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


def _parts(node: ast.expr) -> list[str]:
    """`["a", "b"]` for the expression `a.b`; empty for what is no name or attribute of a name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else []


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
