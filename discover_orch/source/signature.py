"""Reads the signature of a function from its syntax tree: the parameters of `run()`.

An annotation is read as an expression and never evaluated; an Enum and an alias of a type are found in the project,
wherever they are. An annotation that is not supported becomes an `UnknownType`. Nothing here raises.
"""

from __future__ import annotations

import ast
import contextlib

from msgspec.structs import replace

from discover_orch.model.parameter import SCALARS, Choice, EnumChoice, ParamType, Scalar
from discover_orch.source.code_meaning import read_path
from discover_orch.source.facts import ArgumentFacts, RunFacts, UnknownType
from discover_orch.source.literals import (
    NotLiteral,
    docstring_of,
    is_showable,
    literal,
    param_help,
    text_of,
)
from discover_orch.source.scope import Definition, Member, ModuleScope, Outside, Unreadable

PLAIN_TYPES = {name: ParamType(base=Scalar(kind=kind)) for name, kind in SCALARS.items()}
STR = PLAIN_TYPES["builtins.str"]
STR_OR_NONE = ParamType(base=Scalar(kind="str"), optional=True)
MANY_STR = ParamType(base=Scalar(kind="str"), many=True)
LISTS = frozenset({"builtins.list", "typing.List", "typing_extensions.List"})
MAX_DEPTH = 20  # aliases and strings followed within an annotation
MAX_SHOWN = 80  # characters kept of an unknown annotation

TypeFacts = ParamType | UnknownType


def read_function(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, names: ModuleScope
) -> RunFacts:
    """The facts of a function; `*args` is left out, since arguments are passed by name. What a decorated function
    gives is not known."""
    spec = node.args
    own = {one.arg for one in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)}
    docstring = None if isinstance(node, ast.Lambda) else docstring_of(node.body)
    help_texts = param_help(docstring, own)
    positional = [*spec.posonlyargs, *spec.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(spec.defaults))
    defaults += spec.defaults
    pairs = [*zip(positional, defaults, strict=True)]
    pairs += zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
    arguments = tuple(
        _read_argument(
            arg,
            default,
            names,
            is_positional_only=number < len(spec.posonlyargs),
            help_text=help_texts.get(arg.arg, ""),
        )
        for number, (arg, default) in enumerate(pairs)
    )
    is_plain = isinstance(node, ast.Lambda) or not node.decorator_list
    yield_line = find_yield(node) if is_plain else 0
    return RunFacts(
        line=node.lineno,
        is_async=isinstance(node, ast.AsyncFunctionDef),
        arguments=arguments,
        takes_extra=spec.kwarg is not None,
        yield_line=yield_line,
    )


def find_yield(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> int:
    """The line of the first `yield` in its own body, 0 if there is none: a call would only make a generator."""
    body = [function.body] if isinstance(function, ast.Lambda) else function.body
    pending: list[ast.AST] = [*reversed(body)]
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.Yield, ast.YieldFrom)):
            return node.lineno
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            pending.extend(reversed([*ast.iter_child_nodes(node)]))
    return 0


def read_type(node: ast.expr, names: ModuleScope) -> TypeFacts:
    """The type of an annotation; `UnknownType` where orch cannot convert a text to it."""
    found: TypeFacts | None
    try:
        found = _read_type(node, names, 0)
    except RecursionError:
        found = None
    return UnknownType(text=_source(node)[:MAX_SHOWN]) if found is None else found


def _read_argument(
    arg: ast.arg,
    default: ast.expr | None,
    names: ModuleScope,
    *,
    is_positional_only: bool,
    help_text: str,
) -> ArgumentFacts:
    value: object = None
    is_literal = False
    source: str | None = None
    if default is not None:
        source = _source(default)
        try:
            value = literal(default)
            is_literal = True
        except NotLiteral:
            pass
    if arg.annotation is None:
        kind: TypeFacts = _type_of_default(value, is_literal=is_literal)
    else:
        kind = read_type(arg.annotation, names)
        if is_literal and value is None and not isinstance(kind, UnknownType):
            kind = replace(kind, optional=True)
    texts: tuple[str, ...] = ()
    if default is not None and not is_literal and isinstance(kind, ParamType) and arg.annotation:
        texts = _made_default(default, kind, names)
        value = _shown_default(kind, texts)
    return ArgumentFacts(
        name=arg.arg,
        line=arg.lineno,
        type=kind,
        is_positional_only=is_positional_only,
        default=value,
        default_source=source,
        help=help_text,
        default_texts=texts,
    )


def _shown_default(kind: ParamType, texts: tuple[str, ...]) -> object:
    """The default that JSON shows for these texts."""
    if not texts:
        return None
    return list(texts) if kind.many else texts[0]


def _made_default(default: ast.expr, kind: ParamType, names: ModuleScope) -> tuple[str, ...]:
    """The texts that one would type; none where a part cannot be read."""
    items = [default]
    if kind.many:
        items = default.elts if isinstance(default, (ast.List, ast.Tuple)) else []
    found = [_typed_text(item, kind.base, names) for item in items]
    texts = tuple(text for text in found if text is not None)
    return texts if len(texts) == len(items) else ()


# Defaults made from literals, `Path("data") / "x.csv"`, `Color.RED`, `date(2024, 1, 31)`, as one would type them.


def _typed_text(node: ast.expr, base: object, names: ModuleScope) -> str | None:
    """The text of one value of this type; None where the source does not tell the value."""
    match base, node:
        case Scalar(kind="path"), _ if (path := read_path(node)) is not None:
            from pathlib import PurePosixPath  # only where a default is a path

            return str(PurePosixPath(path))
        case (
            Scalar(kind="date"),
            ast.Call(
                args=[
                    ast.Constant(value=int(year)),
                    ast.Constant(value=int(month)),
                    ast.Constant(value=int(day)),
                ],
                keywords=[],
            ),
        ) if names.outside(node.func) == "datetime.date":
            return f"{year:04}-{month:02}-{day:02}"
        case Scalar(kind="datetime"), ast.Call(args=args, keywords=[]) if (
            names.outside(node.func) == "datetime.datetime"
        ):
            return _read_time(args)
        case (
            Scalar(kind="decimal" | "uuid"),
            ast.Call(args=[ast.Constant(value=str() | int() as value)], keywords=[]),
        ) if names.outside(node.func) in ("decimal.Decimal", "uuid.UUID"):
            return str(value)
        case EnumChoice(module=module, name=name), ast.Attribute():
            with contextlib.suppress(Unreadable):
                match names.find(node):
                    case Member(enum=enum, name=member) if _name_enum(enum) == (module, name):
                        return base.text_of(member)
    return None


def _read_time(args: list[ast.expr]) -> str | None:
    """`2024-01-31T12:00:00` for `2024, 1, 31, 12`."""
    from datetime import datetime  # only where a default is a time

    values = [one.value for one in args if isinstance(one, ast.Constant)]
    numbers = [one for one in values if isinstance(one, int)]
    if len(numbers) != len(args) or len(numbers) not in range(3, 8):
        return None
    with contextlib.suppress(ValueError):
        year, month, day, hour, minute, second, micro = [*numbers, 0, 0, 0, 0][:7]
        return datetime(year, month, day, hour, minute, second, micro).isoformat()
    return None


def _type_of_default(value: object, *, is_literal: bool) -> ParamType:
    """The type of a parameter without an annotation; `[]` and mixed lists count as lists of strings."""
    if not is_literal:
        return STR
    if isinstance(value, list):
        kinds = {_type_of_scalar(item) for item in value}
        only = kinds.pop() if len(kinds) == 1 else None
        return MANY_STR if only is None else replace(only, many=True)
    if value is None:
        return STR_OR_NONE
    return _type_of_scalar(value) or STR


def _type_of_scalar(value: object) -> ParamType | None:
    for kind in (bool, int, float, str):  # a bool is an int too
        if isinstance(value, kind):
            return PLAIN_TYPES[f"builtins.{kind.__name__}"]
    return None


def _read_type(node: ast.expr, names: ModuleScope, depth: int) -> ParamType | None:
    if depth > MAX_DEPTH:
        return None
    if isinstance(node, (ast.Name, ast.Attribute)):
        return _read_named(node, names, depth)
    if isinstance(node, ast.Subscript):
        return _read_subscript(node, names, depth)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        members: list[ast.expr] = []
        rest: ast.expr = node
        while isinstance(rest, ast.BinOp) and isinstance(rest.op, ast.BitOr):
            members.append(rest.right)
            rest = rest.left
        return _read_union([rest, *reversed(members)], names, depth)
    text = text_of(node)
    return None if text is None else _read_quoted(text, names, depth)


def _read_quoted(text: str, names: ModuleScope, depth: int) -> ParamType | None:
    try:
        tree = compile(text.strip(), "<annotation>", "eval", ast.PyCF_ONLY_AST, dont_inherit=True)
    except (SyntaxError, ValueError, MemoryError, OverflowError, RecursionError):
        return None
    assert isinstance(tree, ast.Expression)
    return _read_type(tree.body, names, depth + 1)


def _read_named(node: ast.expr, names: ModuleScope, depth: int) -> ParamType | None:
    try:
        found = names.find(node)
    except Unreadable:
        return None
    match found:
        case Outside(name=name):
            return MANY_STR if name in LISTS else PLAIN_TYPES.get(name)
        case Definition(scope=scope, node=ast.ClassDef() as kind):
            members = scope.enum_members(kind) or {}
            texts = [(name, name if one is None else str(one)) for name, one in members.items()]
            module, name = _name_enum(found)
            base = EnumChoice(module=module, name=name, members=tuple(texts))
            return ParamType(base=base) if texts else None
        case Definition(scope=scope, node=ast.expr() as inner):
            return _read_type(inner, scope, depth + 1)
    return None


def _name_enum(found: Definition) -> tuple[str, str]:
    return found.scope.module, found.node.name if isinstance(found.node, ast.ClassDef) else ""


def _read_subscript(node: ast.Subscript, names: ModuleScope, depth: int) -> ParamType | None:
    name = names.outside(node.value)
    items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if name in LISTS:
        item = _read_type(node.slice, names, depth + 1)
        if item is None or item.many or item.optional:
            return None
        return replace(item, many=True)
    module, _, word = name.rpartition(".")
    if module not in ("typing", "typing_extensions"):
        return None
    if word == "Optional":
        item = _read_type(node.slice, names, depth + 1)
        return None if item is None else replace(item, optional=True)
    if word == "Union":
        return _read_union(items, names, depth + 1)
    if word == "Annotated" and items:
        return _read_type(items[0], names, depth + 1)
    if word == "Literal":
        return _read_literal(items)
    return None


def _read_union(members: list[ast.expr], names: ModuleScope, depth: int) -> ParamType | None:
    """`T | None` in any order; a union of two types is not supported."""
    others = [member for member in members if not _is_none(member)]
    if len(others) != 1:
        return None
    item = _read_type(others[0], names, depth + 1)
    if item is None or len(others) == len(members):
        return item
    return replace(item, optional=True)


def _read_literal(items: list[ast.expr]) -> ParamType | None:
    values: list[str | int | bool] = []
    for item in items:
        if _is_none(item):
            continue
        try:
            value = literal(item)
        except NotLiteral:
            return None
        if not isinstance(value, (str, int)):
            return None
        values.append(value)
    if not values:
        return None
    return ParamType(base=Choice(values=tuple(values)), optional=len(values) < len(items))


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _source(node: ast.expr) -> str:
    """The expression as text on one line; "..." where it is nested too deeply."""
    if isinstance(node, ast.Constant) and (
        node.value is None or isinstance(node.value, (bool, str))
    ):
        return repr(node.value)
    try:
        text = ast.unparse(node)
    except (RecursionError, ValueError):
        return "..."
    return text if is_showable(text) else text.encode("utf-8", "backslashreplace").decode()
