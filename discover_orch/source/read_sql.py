"""Reads a `.sql` file into the facts of a tool: the tags in its first comment, its parameters, its statements.

What a comment says is data: nothing in it is executed. The parser of Python is loaded for `ORCH:` alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

import msgspec
from msgspec.structs import replace

from discover_orch.model.encoding import content_hash
from discover_orch.model.errors import did_you_mean
from discover_orch.model.parameter import SCALARS, ConvertError, Param, ParamType, Scalar
from discover_orch.model.sql_text import (
    Statement,
    UnreadableSql,
    find_lost_check,
    find_misuse,
    read_first_comments,
    split_statements,
)
from discover_orch.source.facts import (
    ArgumentFacts,
    BrokenTool,
    CheckFacts,
    ModuleFacts,
    OrchTag,
    RunFacts,
    Tag,
    UnknownType,
)

CONNECTION = "conn"
MARK = re.compile(rb"STAGE\s*:")  # in a file without it there is no tool
#: Those of checks belong to the first statement.
_TAG = re.compile(r"(STAGE|AFTER|EACH|ORCH|CHECK|WARN)\s*:\s*(.*)")
_DECLARATION = re.compile(
    r"""(\w+)\s*:\s*([\w\[\]]+)\s*(?:=\s*('(?:[^']|'')*'|"[^"]*"|.*?))?(?:(?:\s\s|\t)\s*(.*))?"""
)
_KINDS = {name.rpartition(".")[2].lower(): kind for name, kind in SCALARS.items()}
_FORM = (
    "write -- {}: date = 2024-01-01  help (two spaces before the help); "
    f"types: {', '.join(_KINDS)}, list[...]"
)
#: Lines of the first comment, or the texts of its tags, each with its number.
Lines = list[tuple[str, int]]
Tags = dict[str, tuple[str, int]]


def read_sql(data: bytes, *, module: str, path: str) -> tuple[ModuleFacts, str] | BrokenTool:
    """The facts of a file with MARK, and a hash of what it means: comments and layout do not count."""
    stage = _read_tag("STAGE", _read_header(data.decode("utf-8-sig", "replace"))[0])
    try:
        text = data.decode("utf-8-sig")
        statements = split_statements(text)
        facts = _build(_read_header(text), statements, module, path)
        if facts.stage is not None and (lost := find_lost_check(text, statements)):
            raise lost
        return facts, _hash(facts, statements)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"is not UTF-8: byte 0x{data[error.start]:02x}"
        problem = UnreadableSql(line, message, "save it as UTF-8").problem(path)
    except UnreadableSql as error:
        problem = error.problem(path)
    stages = stage.words if stage else ()
    return BrokenTool(path=path, module=module, problems=(problem,), stages=stages)


def _build(
    header: tuple[Tags, Lines], statements: list[Statement], module: str, path: str
) -> ModuleFacts:
    tags, lines = header
    stage, orch, miss = _read_tag("STAGE", tags), _read_orch(tags), ""
    if stage is None:
        miss = "has STAGE:, but not in a comment before its first statement"
    commits_by_itself = orch is not None and orch.values.get("transaction") == "none"
    for one in statements if stage else ():
        if problem := find_misuse(one, commits_by_itself=commits_by_itself):
            raise problem
    arguments, doc = _read_arguments(statements, lines)
    run = None
    if statements:
        own = ArgumentFacts(name=CONNECTION, line=1, type=UnknownType(text=""))
        run = RunFacts(line=statements[0].line, arguments=(own, *arguments))
    checks = [
        CheckFacts(
            name=one.check,
            line=one.line,
            needs=tuple((name, False) for name in (CONNECTION, *one.parameters)),
        )
        for one in statements
        if one.check
    ]
    return ModuleFacts(
        module=module,
        path=path,
        doc=doc,
        stage=stage,
        after=_read_tag("AFTER", tags),
        orch=orch,
        run=run,
        checks=tuple(checks),
        miss=miss,
    )


def _hash(facts: ModuleFacts, statements: list[Statement]) -> str:
    orch: dict[str, object] = {}
    if facts.orch is not None:
        from discover_orch.source.code_meaning import OPERATIONAL

        orch = {key: one for key, one in facts.orch.values.items() if key not in OPERATIONAL}
    arguments = facts.run.arguments if facts.run else ()
    said = (
        facts.stage and facts.stage.words,
        facts.after and facts.after.words,
        orch,
        [(one.name, str(one.type), one.default_source) for one in arguments],
        [(one.check, one.meaning) for one in statements],
    )
    return content_hash(msgspec.json.encode(said))


# The first comment.


def _read_header(text: str) -> tuple[Tags, Lines]:
    """The tags in the comments before the first statement, and the other lines. `ORCH: {...}` may have several."""
    found: Lines = []
    for token in read_first_comments(text):
        inside = token.text[2:] if token.text.startswith("--") else token.text[2:-2]
        for number, line in enumerate(inside.split("\n"), start=token.line):
            found.append((line.strip().removeprefix("*").strip(), number))
    tags: Tags = {}
    others: Lines = []
    lines = iter(found)
    for line, number in lines:
        tag = _TAG.fullmatch(line)
        if tag is None:
            others.append((line, number))
            continue
        value = tag[2]
        while tag[1] == "ORCH" and not value.endswith("}") and (more := next(lines, None)):
            value += "\n" + more[0]
        tags[tag[1]] = value, number
    return tags, others


def _read_tag(name: str, tags: Tags) -> Tag | None:
    """Words between commas; quotes and brackets as in Python may stand around them."""
    if name not in tags:
        return None
    value, line = tags[name]
    given = [one.strip(" \t\"'") for one in value.strip(" ()[]").split(",")]
    words = tuple(one for one in given if one)
    if name == "STAGE" and words == ("None",):
        return Tag(line=line, is_off=True)
    problem = "STAGE is empty" if name == "STAGE" and not words else ""
    return Tag(line=line, words=words, problem=problem)


def _read_orch(tags: Tags) -> OrchTag | None:
    found = _read_orch_dict(*tags["ORCH"]) if "ORCH" in tags else None
    if "EACH" not in tags or (found is not None and found.problem):
        return found
    value, line = tags["EACH"]
    each: object = value.strip("\"'")
    if value.startswith("{") and value.endswith("}") and ":" in value:
        one = _read_orch_dict(f'{{"each": {value}}}', line)
        if one.problem:
            return OrchTag(line=line, problem="EACH is not a dict literal")
        each = one.values["each"]
    if found is None:
        return OrchTag(line=line, values={"each": each}, lines={"each": line})
    values, lines = {**found.values, "each": each}, {**found.lines, "each": line}
    return OrchTag(line=found.line, values=values, lines=lines)


def _read_orch_dict(value: str, line: int) -> OrchTag:
    import ast

    from discover_orch.source.read_module import read_orch_literal

    try:
        node = ast.parse(value, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return OrchTag(line=line, problem="ORCH is not a dict literal")
    return read_orch_literal(ast.increment_lineno(node, line - 1), line)


def _read_arguments(
    statements: list[Statement], lines: Lines
) -> tuple[Iterable[ArgumentFacts], str]:
    """The parameters in the order of the statements, and the first line of the description."""
    plain = ParamType(base=Scalar(kind="str"))
    found: dict[str, ArgumentFacts] = {}
    for token in (token for each in statements for token in each.tokens):
        if token.kind == "parameter":
            one = ArgumentFacts(name=token.text[1:], line=token.line, type=plain)
            found.setdefault(one.name, one)
    if CONNECTION in found:
        message = ":conn cannot be a parameter: it is the connection"
        raise UnreadableSql(found[CONNECTION].line, message, "choose another name")
    doc = ""
    for line, number in lines:
        declared = _DECLARATION.fullmatch(line)
        kind = _read_type(declared[2]) if declared else None
        name = line.partition(":")[0].strip()
        if declared and kind is not None:
            if name not in found:
                hint = did_you_mean(name, found, f"use :{name} in a statement, or remove the line")
                message = f'declares "{name}", and no statement uses :{name}'
                raise UnreadableSql(number, message, hint)
            help_text = " ".join((declared[4] or "").split())
            one = ArgumentFacts(name=name, line=number, type=kind, help=help_text)
            found[name] = _with_default(one, kind, declared[3])
        elif _is_meant(line, found):
            name = line.replace(":", " ").split()[0]
            message = f"the type of :{name} cannot be read"
            raise UnreadableSql(number, message, _FORM.format(name))
        else:
            doc = doc or " ".join(line.split())
    return found.values(), doc


def _is_meant(line: str, names: Collection[str]) -> bool:
    """Whether it begins with a parameter and a colon, or a parameter and a type."""
    first, *others = line.split()[:2] or [""]
    return first.rstrip(":") in names and (
        ":" in line.partition("=")[0] or any(_read_type(one) is not None for one in others)
    )


def _read_type(word: str) -> ParamType | None:
    many = word.startswith("list[") and word.endswith("]")
    kind = _KINDS.get((word[5:-1] if many else word).lower())
    return None if kind is None else ParamType(base=Scalar(kind=kind), many=many)


def _with_default(one: ArgumentFacts, kind: ParamType, source: str | None) -> ArgumentFacts:
    """A default is written as one would type it, or NULL; a list with commas."""
    if source is None:
        return one
    if source.upper() in ("NULL", "NONE"):
        return replace(one, type=replace(kind, optional=True), default_source="None")
    if source[:1] in ("'", '"'):
        source = source[1:-1].replace(source[0] * 2, source[0])
    texts = tuple(map(str.strip, source.split(","))) if kind.many else (source,)
    try:
        value = Param(name=one.name, type=kind).convert(texts)
    except ConvertError as error:
        message = f"the default of :{one.name} does not fit: {error}"
        hint = f"correct it; {_FORM.format(one.name)}"
        raise UnreadableSql(one.line, message, hint) from None
    shown = value if isinstance(value, str | int | float) else None
    return replace(one, default=shown, default_source=source, default_texts=texts)
