"""References between modules: what others can refer to, and what a reference means.

`read_exports` lists the constants, Enum classes, functions and aliases of a module. `resolve_module` replaces each
`NameRef` by what it means where the module that it names defines it, or is a package that passes it on (in its
`__init__.py`). Nothing is imported: the caller passes a `lookup` that gives the exports of a module.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.model.parameter import EnumChoice, ParamType
from discover_orch.source.facts import (
    ArgumentFacts,
    EnumRef,
    Exports,
    ModuleFacts,
    NameRef,
    RunFacts,
    Tag,
    UnknownType,
)
from discover_orch.source.scope import ModuleScope, Unreadable, Value
from discover_orch.source.signature import (
    PLAIN_TYPES,
    TypeFacts,
    read_function,
    read_type,
    shown_default,
)

Lookup = Callable[[str], Exports | None]

MAX_STEPS = 10  # packages that may pass a name on, one to the other


def read_exports(tree: ast.Module, module: str, is_package: bool = False) -> Exports:
    """What other modules can refer to in this one; of several bindings of a name the last one counts."""
    scope = ModuleScope(tree, module, is_package)
    constants: dict[str, str | tuple[str | NameRef, ...] | None] = {}
    enums: dict[str, tuple[tuple[str, str | int | None], ...]] = {}
    aliases: dict[str, NameRef] = {}
    functions: dict[str, RunFacts] = {}
    types: dict[str, ParamType | EnumRef] = {}
    for name in scope.bindings:
        binding = scope.last(name)
        if binding is None or binding.where:
            continue
        match binding.node:
            case NameRef() as ref:
                aliases[name] = ref
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda() as function:
                functions[name] = read_function(function, scope)
            case ast.ClassDef() as node:
                members = scope.enum_members(node)
                if members is not None:
                    enums[name] = members
                else:
                    for member, constant in scope.class_constants(node, binding.index):
                        constants[f"{name}.{member}"] = constant
            case ast.expr() as node:
                meaning = _meaning_of(node, binding.index, scope)
                if isinstance(meaning, NameRef):
                    aliases[name] = meaning
                elif isinstance(meaning, (ParamType, EnumRef)):
                    types[name] = meaning
                elif not isinstance(meaning, int):
                    constants[name] = meaning
    return Exports(
        module=module,
        is_package=is_package,
        constants=constants,
        enums=enums,
        aliases=aliases,
        functions=functions,
        types=types,
    )


def _meaning_of(node: ast.expr, before: int, scope: ModuleScope) -> Value | ParamType | EnumRef:
    """A constant, a reference or a type; a number where the expression is nothing that others can refer to."""
    try:
        return scope.value(node, before)
    except Unreadable:
        pass
    if isinstance(node, (ast.BinOp, ast.Subscript, ast.Name, ast.Attribute)):
        kind = read_type(node, scope)
        if not isinstance(kind, UnknownType):
            return kind
    if isinstance(node, ast.Name) and scope.last(node.id) is not None:
        return NameRef(name=f"{scope.module}.{node.id}")
    return 0


def resolve_module(facts: ModuleFacts, lookup: Lookup) -> ModuleFacts:
    """The facts with each `NameRef` replaced by what it means, or by a problem."""
    stage = facts.stage and _resolve_tag("STAGE", facts.stage, lookup)
    after = facts.after and _resolve_tag("AFTER", facts.after, lookup)
    run = facts.run and _resolve_run(facts.run, lookup)
    if stage is facts.stage and after is facts.after and run is facts.run:
        return facts
    return replace(facts, stage=stage, after=after, run=run)


class _Enum(Struct, frozen=True, kw_only=True):
    """An Enum class that a name refers to."""

    module: str
    name: str
    members: tuple[tuple[str, str | int | None], ...]


_Meaning = str | int | tuple[str | NameRef, ...] | _Enum | RunFacts | ParamType | EnumRef | None


class _Unresolved(Exception):
    """The name cannot be resolved within the project; what is wrong, as one sentence."""


def _resolve_tag(name: str, tag: Tag, lookup: Lookup) -> Tag:
    if all(isinstance(word, str) for word in tag.words):
        return tag
    words: list[str] = []
    for word in tag.words:
        if isinstance(word, str):
            words.append(word)
            continue
        try:
            value = _resolve(word.name, lookup)
        except _Unresolved as error:
            return replace(tag, words=(), problem=f"{name} cannot be read: {error}")
        if value is None and len(tag.words) == 1:
            return replace(tag, words=(), is_off=True)
        found = _words_of(value)
        if not found or (len(found) > 1 and len(tag.words) > 1):
            message = f"{name} cannot be read: {_no_constant(word.name)}"
            return replace(tag, words=(), problem=message)
        words.extend(found)
    return replace(tag, words=tuple(words))


def _words_of(meaning: _Meaning) -> tuple[str, ...]:
    """() for a value that is no text, and no tuple of texts."""
    items = meaning if isinstance(meaning, tuple) else (meaning,)
    words = tuple(one for one in items if isinstance(one, str) and one)
    return words if len(words) == len(items) else ()


def _no_constant(name: str) -> str:
    return f"`{name}` is not a constant of the project"


def _resolve_run(run: RunFacts, lookup: Lookup) -> RunFacts:
    if run.ref is not None and run.is_readable:
        try:
            found = _resolve(run.ref.name, lookup)
        except _Unresolved:
            found = None
        if not isinstance(found, RunFacts):
            return replace(run, is_readable=False)
        run = _seen_from(run.line, found)
    if any(isinstance(argument.type, EnumRef) for argument in run.arguments):
        arguments = tuple(_resolve_argument(argument, lookup) for argument in run.arguments)
        run = replace(run, arguments=arguments)
    return run


def _seen_from(line: int, run: RunFacts) -> RunFacts:
    """A function of another module, with the line that names it here: its own lines are of another file."""
    return replace(
        run,
        line=line,
        ref=None,
        arguments=tuple(replace(argument, line=line) for argument in run.arguments),
        yield_line=line if run.yield_line else 0,
    )


def _resolve_argument(argument: ArgumentFacts, lookup: Lookup) -> ArgumentFacts:
    if not isinstance(argument.type, EnumRef):
        return argument
    kind = _resolve_type(argument.type, lookup)
    if not argument.default_refs:
        return replace(argument, type=kind)
    found = [_member_text(ref, kind, lookup) for ref in argument.default_refs]
    texts = tuple(text for text in found if text is not None)
    if len(texts) < len(found):
        texts = ()
    default = shown_default(kind, texts)
    return replace(argument, type=kind, default=default, default_texts=texts, default_refs=())


def _member_text(ref: NameRef, kind: TypeFacts, lookup: Lookup) -> str | None:
    """What is typed for the member, if it is one of the Enum that is the type."""
    owner, _, member = ref.name.rpartition(".")
    if not isinstance(kind, ParamType) or not isinstance(kind.base, EnumChoice):
        return None
    try:
        found = _resolve(owner, lookup)
    except _Unresolved:
        return None
    is_of_type = isinstance(found, _Enum) and (found.module, found.name) == (
        kind.base.module,
        kind.base.name,
    )
    return kind.base.text_of(member) if is_of_type else None


def _resolve_type(kind: EnumRef, lookup: Lookup) -> TypeFacts:
    unknown = UnknownType(text=kind.ref.name)
    try:
        found = _resolve(kind.ref.name, lookup)
    except _Unresolved:
        return unknown
    if isinstance(found, _Enum):
        members = tuple(
            (name, name if value is None else str(value)) for name, value in found.members
        )
        if not members:
            return unknown
        base = EnumChoice(module=found.module, name=found.name, members=members)
        return ParamType(base=base, many=kind.many, optional=kind.optional)
    if not isinstance(found, ParamType) or (kind.many and (found.many or found.optional)):
        return unknown
    many, optional = kind.many or found.many, kind.optional or found.optional
    return ParamType(base=found.base, many=many, optional=optional)


def _resolve(name: str, lookup: Lookup, steps: int = MAX_STEPS) -> _Meaning:
    """What an absolute dotted name means; its longest leading part that is a module counts."""
    if name in PLAIN_TYPES:
        return PLAIN_TYPES[name]
    parts = name.split(".")
    wrong: _Unresolved | None = None
    for size in range(len(parts) - 1, 0, -1) if steps else ():
        exports = lookup(".".join(parts[:size]))
        if exports is not None:
            try:
                return _attribute(exports, parts[size:], lookup, steps - 1)
            except _Unresolved as error:
                wrong = wrong or error  # `__init__.py` may bind the name of a submodule
    raise wrong or _Unresolved(_no_constant(name))


def _attribute(exports: Exports, rest: list[str], lookup: Lookup, steps: int) -> _Meaning:
    first, more = rest[0], rest[1:]
    whole = ".".join(rest)
    if whole in exports.constants:
        return exports.constants[whole]
    if first in exports.enums:
        enum = _Enum(module=exports.module, name=first, members=exports.enums[first])
        return _member(enum, more) if more else enum
    if not more and first in exports.functions:
        return exports.functions[first]
    if not more and first in exports.types:
        return exports.types[first]
    if first in exports.aliases:
        target = exports.aliases[first].name
        if not exports.is_package:
            message = f"`{first}` of {exports.module} comes from {target}: import it from there"
            raise _Unresolved(message)
        return _resolve(".".join([target, *more]), lookup, steps)
    raise _Unresolved(_no_constant(".".join([exports.module, *rest])))


def _member(enum: _Enum, rest: list[str]) -> _Meaning:
    """`Stage.INGEST`, and `.value` or `.name` of it. Raises _Unresolved where the value is not a constant."""
    values = dict(enum.members)
    if rest[0] in values and (len(rest) == 1 or rest[1:] == ["value"]):
        value = values[rest[0]]
        if value is not None:
            return value
    elif rest[0] in values and rest[1:] == ["name"]:
        return rest[0]
    raise _Unresolved(_no_constant(".".join([enum.module, enum.name, *rest])))
