"""References: what can be referred to in a module, and what a reference means.

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
from discover_orch.source.scope import EnumMembers, ModuleScope, Unreadable, Value
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
    """What can be referred to in this module; of several bindings of a name the last one counts."""
    scope = ModuleScope(tree, module, is_package)
    constants: dict[str, str | tuple[str | NameRef, ...] | None] = {}
    enums: dict[str, EnumMembers] = {}
    aliases: dict[str, NameRef] = {}
    functions: dict[str, RunFacts] = {}
    types: dict[str, ParamType | EnumRef] = {}

    def note(name: str, value: Value) -> None:
        if isinstance(value, NameRef):
            aliases[name] = value
        elif not isinstance(value, int):
            constants[name] = value

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
                        note(f"{name}.{member}", constant)
            case ast.expr() as node:
                try:
                    note(name, scope.value(node, binding.index))
                except Unreadable:
                    kind = read_type(node, scope)
                    if not isinstance(kind, UnknownType):
                        types[name] = kind
    return Exports(
        module=module,
        is_package=is_package,
        constants=constants,
        enums=enums,
        aliases=aliases,
        functions=functions,
        types=types,
    )


def resolve_module(facts: ModuleFacts, lookup: Lookup, own: Exports | None = None) -> ModuleFacts:
    """The facts with each `NameRef` replaced by what it means, or by a problem. With `own`, the exports of the module
    itself, only references to it; those to other modules stay."""
    resolver = _Resolver(lookup, own)
    return replace(
        facts,
        stage=facts.stage and resolver.tag("STAGE", facts.stage),
        after=facts.after and resolver.tag("AFTER", facts.after),
        run=facts.run and resolver.run(facts.run),
    )


class _Enum(Struct, frozen=True, kw_only=True):
    """An Enum class that a name refers to."""

    module: str
    name: str
    members: EnumMembers


#: A `NameRef` is one that stays.
_Meaning = (
    str | int | tuple[str | NameRef, ...] | NameRef | _Enum | RunFacts | ParamType | EnumRef | None
)


class _Unresolved(Exception):
    """The name cannot be resolved within the project; what is wrong, as one sentence."""


class _Resolver:
    def __init__(self, lookup: Lookup, own: Exports | None) -> None:
        self._lookup, self._own = lookup, own

    def tag(self, name: str, tag: Tag) -> Tag:
        if all(isinstance(word, str) for word in tag.words):
            return tag
        words: list[str | NameRef] = []
        for word in tag.words:
            try:
                value = self._meaning(word.name) if isinstance(word, NameRef) else word
                found = self._words(value)
            except _Unresolved as error:
                return replace(tag, words=(), problem=f"{name} cannot be read: {error}")
            if value is None and len(tag.words) == 1:
                return replace(tag, words=(), is_off=True)
            if not found or (len(found) > 1 and len(tag.words) > 1):
                text = _no_constant(word.name if isinstance(word, NameRef) else word)
                return replace(tag, words=(), problem=f"{name} cannot be read: {text}")
            words.extend(found)
        return replace(tag, words=tuple(words))

    def _words(self, value: _Meaning) -> tuple[str | NameRef, ...]:
        """() for a value that is no text, and no tuple of texts."""
        if not isinstance(value, tuple):
            return (
                (value,) if isinstance(value, NameRef) or (isinstance(value, str) and value) else ()
            )
        items = [self._meaning(one.name) if isinstance(one, NameRef) else one for one in value]
        words = tuple(
            one for one in items if isinstance(one, NameRef) or (isinstance(one, str) and one)
        )
        return words if len(words) == len(items) else ()

    def run(self, run: RunFacts) -> RunFacts:
        if run.ref is not None and run.is_readable:
            try:
                found = self._meaning(run.ref.name)
            except _Unresolved:
                found = None
            if isinstance(found, NameRef):
                return replace(run, ref=found)
            if not isinstance(found, RunFacts):
                return replace(run, is_readable=False)
            run = _seen_from(run.line, found)
        if any(isinstance(argument.type, EnumRef) for argument in run.arguments):
            run = replace(run, arguments=tuple(map(self._argument, run.arguments)))
        return run

    def _argument(self, argument: ArgumentFacts) -> ArgumentFacts:
        if not isinstance(argument.type, EnumRef):
            return argument
        kind = self._type(argument.type)
        if not argument.default_refs or isinstance(kind, EnumRef):
            return replace(argument, type=kind)
        found = [self._member_text(ref, kind) for ref in argument.default_refs]
        texts = tuple(text for text in found if text is not None)
        if len(texts) < len(found):
            texts = ()
        default = shown_default(kind, texts)
        return replace(argument, type=kind, default=default, default_texts=texts, default_refs=())

    def _member_text(self, ref: NameRef, kind: TypeFacts) -> str | None:
        """What is typed for the member, if it is one of the Enum that is the type."""
        owner, _, member = ref.name.rpartition(".")
        if not isinstance(kind, ParamType) or not isinstance(kind.base, EnumChoice):
            return None
        try:
            found = self._meaning(owner)
        except _Unresolved:
            return None
        is_of_type = isinstance(found, _Enum) and (found.module, found.name) == (
            kind.base.module,
            kind.base.name,
        )
        return kind.base.text_of(member) if is_of_type else None

    def _type(self, kind: EnumRef, steps: int = MAX_STEPS) -> TypeFacts:
        unknown = UnknownType(text=kind.ref.name)
        try:
            found = self._meaning(kind.ref.name)
        except _Unresolved:
            return unknown
        if isinstance(found, NameRef):
            return replace(kind, ref=found)
        if isinstance(found, EnumRef):
            inner = self._type(found, steps - 1) if steps else unknown
            found = None if isinstance(inner, UnknownType) else inner
        if isinstance(found, _Enum):
            members = tuple(
                (name, name if value is None else str(value)) for name, value in found.members
            )
            if not members:
                return unknown
            base = EnumChoice(module=found.module, name=found.name, members=members)
            found = ParamType(base=base)
        if not isinstance(found, (ParamType, EnumRef)) or (
            kind.many and (found.many or found.optional)
        ):
            return unknown
        many, optional = kind.many or found.many, kind.optional or found.optional
        return replace(found, many=many, optional=optional)

    def _meaning(self, name: str, steps: int = MAX_STEPS) -> _Meaning:
        """What an absolute dotted name means; its longest leading part that is a module counts."""
        if name in PLAIN_TYPES:
            return PLAIN_TYPES[name]
        own = self._own
        if own is not None:
            if not name.startswith(f"{own.module}."):
                return NameRef(name=name)
            try:
                return self._attribute(own, name[len(own.module) + 1 :].split("."), steps - 1)
            except _Unresolved:
                if own.is_package:  # it may be a module of the package
                    return NameRef(name=name)
                raise
        parts = name.split(".")
        wrong: _Unresolved | None = None
        for size in range(len(parts) - 1, 0, -1) if steps > 0 else ():
            exports = self._lookup(".".join(parts[:size]))
            if exports is not None:
                try:
                    return self._attribute(exports, parts[size:], steps - 1)
                except _Unresolved as error:
                    wrong = wrong or error  # `__init__.py` may bind the name of a submodule
        raise wrong or _Unresolved(_no_constant(name))

    def _attribute(self, exports: Exports, rest: list[str], steps: int) -> _Meaning:
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
        alias = exports.aliases.get(whole) or exports.aliases.get(first)
        if alias is None or steps <= 0:
            raise _Unresolved(_no_constant(f"{exports.module}.{whole}"))
        is_inside = alias.name.startswith(f"{exports.module}.")
        if not (is_inside or exports.is_package or self._own is not None):
            message = f"`{first}` of {exports.module} comes from {alias.name}: import it from there"
            raise _Unresolved(message)
        tail = [] if whole in exports.aliases else more
        return self._meaning(".".join([alias.name, *tail]), steps)


def _no_constant(name: str) -> str:
    return f"`{name}` is not a constant of the project"


def _seen_from(line: int, run: RunFacts) -> RunFacts:
    """A function of another module, with the line that names it here: its own lines are of another file."""
    return replace(
        run,
        line=line,
        ref=None,
        arguments=tuple(replace(argument, line=line) for argument in run.arguments),
        yield_line=line if run.yield_line else 0,
    )


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
