"""Facts as rows that JSON and marshal can hold, for the index, and back.

`to_row` writes any of the values of `facts`, its kind first; `from_row` makes the same value
again. A row that is damaged raises ValueError, TypeError, KeyError or IndexError and never
makes a value that is not one of ours: the index is then read anew from the source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

from discover_orch.model.errors import Location, Problem
from discover_orch.model.tool import (
    Choice,
    EnumChoice,
    ParamType,
    Scalar,
    ScalarKind,
    is_secret_name,
)
from discover_orch.source.facts import (
    ArgumentFacts,
    BrokenModule,
    ConfFacts,
    EnumRef,
    Exports,
    ImportFact,
    ModuleFacts,
    NameRef,
    OrchTag,
    ResourceFacts,
    RunFacts,
    Tag,
    UnknownType,
)

Row = list[Any]
AnyFacts = ModuleFacts | BrokenModule | Exports | ImportFact | ConfFacts
Kind = ParamType | EnumRef | UnknownType

# Most arguments are plain: a word says their type, `str`, `int*` (many), `date?` (optional).
_PLAIN = {
    f"{kind}{'*' * many}{'?' * optional}": ParamType(
        base=Scalar(kind=kind), many=many, optional=optional
    )
    for kind in get_args(ScalarKind)
    for many in (False, True)
    for optional in (False, True)
}


def to_row(facts: AnyFacts) -> Row:
    """The value as a list of strings, numbers, booleans, None, lists and dicts."""
    match facts:
        case ModuleFacts():
            return [
                "module",
                facts.module,
                facts.path,
                facts.doc,
                _tag_row(facts.stage),
                _tag_row(facts.after),
                _orch_row(facts.orch),
                None if facts.run is None else _run_row(facts.run),
                facts.miss,
                facts.miss_line,
            ]
        case BrokenModule():
            return [
                "broken",
                facts.path,
                facts.module,
                _problem_row(facts.problem),
                [*facts.stages],
            ]
        case Exports():
            return [
                "exports",
                facts.module,
                {name: _constant_row(value) for name, value in facts.constants.items()},
                {name: [[*pair] for pair in members] for name, members in facts.enums.items()},
                {name: ref.name for name, ref in facts.aliases.items()},
                {name: _run_row(run) for name, run in facts.functions.items()},
                {name: _kind_row(kind) for name, kind in facts.types.items()},
                [*facts.stars],
            ]
        case ImportFact():
            return ["import", facts.kind, facts.module, [*facts.names], facts.line]
        case ConfFacts():
            resources = [
                [item.name, item.line, [[*need] for need in item.needs]] for item in facts.resources
            ]
            return ["conf", facts.path, facts.connection_line, resources]


def has_secret(row: Row | None) -> bool:
    """Whether the default of a secret parameter, or a constant named like one, stands in the row."""
    if row is None:
        return False
    if row[0] == "module":
        return row[7] is not None and _run_has_secret(row[7])
    if row[0] == "exports":
        return any(is_secret_name(name.rpartition(".")[2]) for name in row[2]) or any(
            map(_run_has_secret, row[5].values())
        )
    return False


def _run_has_secret(run: Row) -> bool:
    return any(
        argument[5] not in (None, "None") and is_secret_name(argument[0]) for argument in run[3]
    )


def from_row(row: Row) -> AnyFacts:
    """The value that `to_row` wrote; raises ValueError, TypeError, KeyError or IndexError."""
    return _READERS[_text(row[0])](row)


def _module(row: Row) -> ModuleFacts:
    _, module, path, doc, stage, after, orch, run, miss, miss_line = _list(row)
    if not module.__class__ is path.__class__ is doc.__class__ is miss.__class__ is str:
        raise TypeError("no string")
    return ModuleFacts(
        module=module,
        path=path,
        doc=doc,
        stage=None if stage is None else _tag(stage),
        after=None if after is None else _tag(after),
        orch=None if orch is None else _orch(orch),
        run=None if run is None else _run(run),
        miss=miss,
        miss_line=_line(miss_line),
    )


def _broken(row: Row) -> BrokenModule:
    _, path, module, problem, stages = _list(row)
    code, message, hint, place, line, severity = _list(problem)
    if severity not in ("error", "warning"):
        raise ValueError("severity")
    location = Location(path=_text(place), line=_line_or_none(line)) if place is not None else None
    return BrokenModule(
        path=_text(path),
        module=_text(module),
        problem=Problem(
            code=_text(code),
            message=_text(message),
            hint=_text(hint),
            location=location,
            severity=severity,
        ),
        stages=_texts(stages),
    )


def _exports(row: Row) -> Exports:
    _, module, constants, enums, aliases, functions, types, stars = _list(row)
    return Exports(
        module=_text(module),
        constants={_text(name): _constant(value) for name, value in _items(constants)},
        enums={
            _text(name): tuple(_member(pair) for pair in _list(members))
            for name, members in _items(enums)
        },
        aliases={_text(name): NameRef(name=_text(ref)) for name, ref in _items(aliases)},
        functions={_text(name): _run(run) for name, run in _items(functions)},
        types={_text(name): _known_kind(kind) for name, kind in _items(types)},
        stars=_texts(stars),
    )


def _import(row: Row) -> ImportFact:
    _, kind, module, names, line = _list(row)
    if kind not in ("import", "from", "dynamic"):
        raise ValueError("kind of import")
    return ImportFact(kind=kind, module=_text(module), names=_texts(names), line=_line(line))


def _conf(row: Row) -> ConfFacts:
    _, path, connection_line, resources = _list(row)
    return ConfFacts(
        path=_text(path),
        connection_line=_line_or_none(connection_line),
        resources=tuple(_resource(item) for item in _list(resources)),
    )


_READERS: dict[str, Callable[[Row], AnyFacts]] = {
    "module": _module,
    "broken": _broken,
    "exports": _exports,
    "import": _import,
    "conf": _conf,
}


def _tag_row(tag: Tag | None) -> Row | None:
    if tag is None:
        return None
    return [tag.line, [_word_row(word) for word in tag.words], tag.is_off, tag.problem]


def _tag(row: Row) -> Tag:
    line, words, is_off, problem = _list(row)
    return Tag(
        line=_line(line),
        words=tuple([one if one.__class__ is str else _word(one) for one in _list(words)]),
        is_off=_bool(is_off),
        problem=_text(problem),
    )


def _word_row(word: str | NameRef) -> str | list[str]:
    return word if isinstance(word, str) else [word.name]


def _word(row: object) -> str | NameRef:
    if isinstance(row, str):
        return row
    (name,) = _list(row)
    return NameRef(name=_text(name))


def _constant_row(value: str | tuple[str | NameRef, ...] | None) -> object:
    return [_word_row(word) for word in value] if isinstance(value, tuple) else value


def _constant(row: object) -> str | tuple[str | NameRef, ...] | None:
    if row is None or isinstance(row, str):
        return row
    return tuple(_word(word) for word in _list(row))


def _member(row: object) -> tuple[str, str | int | None]:
    name, value = _list(row)
    if value is not None and not isinstance(value, (str, int)):
        raise TypeError("value of a member")
    return _text(name), value


def _orch_row(tag: OrchTag | None) -> Row | None:
    if tag is None:
        return None
    return [tag.line, dict(tag.values), dict(tag.lines), tag.problem]


def _orch(row: Row) -> OrchTag:
    line, values, lines, problem = _list(row)
    tag = OrchTag(
        line=_line(line),
        values={_text(name): value for name, value in _items(values)},
        lines={_text(name): _line(number) for name, number in _items(lines)},
        problem=_text(problem),
    )
    if not tag.problem and tag.values.keys() != tag.lines.keys():
        raise ValueError("lines of ORCH")
    return tag


def _run_row(run: RunFacts) -> Row:
    return [
        run.line,
        run.is_async,
        None if run.ref is None else run.ref.name,
        [_argument_row(argument) for argument in run.arguments],
        run.takes_extra,
        run.is_readable,
    ]


def _run(row: Row) -> RunFacts:
    line, is_async, ref, arguments, takes_extra, is_readable = _list(row)
    return RunFacts(
        line=_line(line),
        is_async=_bool(is_async),
        ref=None if ref is None else NameRef(name=_text(ref)),
        arguments=tuple([_argument(argument) for argument in _list(arguments)]),
        takes_extra=_bool(takes_extra),
        is_readable=_bool(is_readable),
    )


def _argument_row(argument: ArgumentFacts) -> Row:
    return [
        argument.name,
        argument.line,
        _kind_row(argument.type),
        argument.is_positional_only,
        argument.default,
        argument.default_source,
        argument.help,
    ]


def _argument(row: Row) -> ArgumentFacts:
    name, line, kind, is_positional_only, default, default_source, help_text = _list(row)
    if default_source is None and default is not None:
        raise ValueError("a default without source")
    return ArgumentFacts(
        name=_text(name),
        line=_line(line),
        type=_PLAIN[kind] if isinstance(kind, str) else _kind(kind),
        is_positional_only=_bool(is_positional_only),
        default=default,
        default_source=None if default_source is None else _text(default_source),
        help=_text(help_text),
    )


def _kind_row(kind: Kind) -> str | Row:
    if isinstance(kind, ParamType) and isinstance(kind.base, Scalar):
        return kind.base.kind + "*" * kind.many + "?" * kind.optional
    match kind:
        case UnknownType(text=text):
            return ["unknown", text]
        case EnumRef(ref=ref, many=many, optional=optional):
            return ["ref", ref.name, many, optional]
        case ParamType(base=Choice(values=values), many=many, optional=optional):
            return ["choice", [*values], many, optional]
        case ParamType(base=EnumChoice() as enum, many=many, optional=optional):
            members = [[*pair] for pair in enum.members]
            return ["enum", enum.module, enum.name, members, many, optional]
    raise TypeError("no type")


def _kind(row: object) -> Kind:
    if isinstance(row, str):
        return _PLAIN[row]
    word, *rest = _list(row)
    match word, rest:
        case "unknown", [str(text)]:
            return UnknownType(text=text)
        case "ref", [str(name), bool(many), bool(optional)]:
            return EnumRef(ref=NameRef(name=name), many=many, optional=optional)
        case "choice", [[*values], bool(many), bool(optional)] if values:
            if not all(isinstance(value, (str, int)) for value in values):
                raise TypeError("values of a choice")
            return ParamType(base=Choice(values=tuple(values)), many=many, optional=optional)
        case "enum", [str(module), str(name), [*members], bool(many), bool(optional)]:
            pairs = tuple((_text(member), _text(value)) for member, value in members)
            enum = EnumChoice(module=module, name=name, members=pairs)
            return ParamType(base=enum, many=many, optional=optional)
    raise ValueError("kind of a type")


def _known_kind(row: object) -> ParamType | EnumRef:
    kind = _kind(row)
    if isinstance(kind, UnknownType):
        raise ValueError("an alias of nothing")
    return kind


def _problem_row(problem: Problem) -> Row:
    place = problem.location
    return [
        problem.code,
        problem.message,
        problem.hint,
        None if place is None else place.path,
        None if place is None else place.line,
        problem.severity,
    ]


def _resource(row: object) -> ResourceFacts:
    name, line, needs = _list(row)
    pairs = tuple((_text(need), _bool(has_default)) for need, has_default in _list(needs))
    return ResourceFacts(name=_text(name), line=_line(line), needs=pairs)


def _text(value: object) -> str:
    if value.__class__ is not str:
        raise TypeError("no string")
    return value


def _texts(value: object) -> tuple[str, ...]:
    return tuple(_text(item) for item in _list(value))


def _line(value: object) -> int:
    if value.__class__ is not int or value < 1:
        raise ValueError("no line")
    return value


def _line_or_none(value: object) -> int | None:
    return None if value is None else _line(value)


def _bool(value: object) -> bool:
    if value.__class__ is not bool:
        raise TypeError("neither true nor false")
    return value


def _list(value: object) -> Row:
    if value.__class__ is not list:
        raise TypeError("no list")
    return value


def _items(value: object) -> list[tuple[object, Any]]:
    if not isinstance(value, Mapping):
        raise TypeError("no dict")
    return list(value.items())
