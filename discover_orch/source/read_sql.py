"""Reads a `.sql` file into the facts of a tool: the tags in its first comment, its parameters, its statements.

What a comment says is data: nothing in it is executed. The parser of Python is loaded for `ORCH:` alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import msgspec
from msgspec import Struct
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
_MARK = re.compile(rb"STAGE\s*:")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_TAG = re.compile(r"(STAGE|AFTER|ORCH)\s*:\s*(.*)")
#: It belongs to the first statement.
_CHECK_LINE = re.compile(r"(?:CHECK|WARN)\s*:")
#: What is written instead by mistake.
_NEAR_TAG = re.compile(r"((?:stages?|stge|satge|staeg)\s*[:=]|STAGE\s)\s*\w", re.I)
_DECLARATION = re.compile(
    r"""(\w+)\s*:\s*([\w\[\]]+)\s*(?:=\s*('(?:[^']|'')*'|"[^"]*"|.*?))?(?:(?:\s\s|\t)\s*(.*))?""",
    re.S,
)
_FORM = "write -- {name}: date = 2024-01-01  help (two spaces before the help)"
_KINDS = {name.rpartition(".")[2].lower(): kind for name, kind in SCALARS.items()}
#: Defaults of these are written to JSON as they are.
_JSON_KINDS = frozenset(["str", "int", "float", "bool"])


class SqlFile(Struct, frozen=True, kw_only=True):
    """`meaning` is a hash of what the statements and tags say: comments and layout do not count."""

    facts: ModuleFacts
    statements: tuple[Statement, ...]
    meaning: str


def has_mark(data: bytes) -> bool:
    """Whether the file can be a tool. SQL Server's editor saves UTF-16."""
    return _MARK.search(data.replace(b"\0", b"") if data[:2] in _UTF_16 else data) is not None


def read_sql(data: bytes, *, module: str, path: str) -> SqlFile | BrokenTool:
    """The tool in a file that has the mark, or why it is none."""
    header: list[tuple[str, int]] = []
    try:
        text = _decode(data)
        header = [*_read_header(text)]
        statements = tuple(split_statements(text))
        found = _build(header, statements, module, path)
        if found.facts.stage is not None and (lost := find_lost_check(text, statements)):
            raise lost
        return found
    except UnreadableSql as error:
        header = header or [*_read_header(data.decode("utf-8", "replace"))]
        stage = _read_tags(header)[0]
        return BrokenTool(
            path=path,
            module=module,
            problems=(error.problem(path),),
            stages=stage.words if stage else (),
        )


def read_near_miss(data: bytes, *, module: str, path: str) -> ModuleFacts | None:
    """The facts of a file without the mark that looks like a tool all the same."""
    for line, number in _read_header(data[:10_000].decode("utf-8-sig", "replace")):
        if found := _NEAR_TAG.match(line):
            near = found[1].rstrip(" \t:=")
            miss = f'has "-- {line[:40]}", but no "-- STAGE:"'
            return ModuleFacts(module=module, path=path, miss=miss, miss_line=number, near=near)
    return None


def _decode(data: bytes) -> str:
    hint = "save it as UTF-8"
    if data[:2] in _UTF_16:
        raise UnreadableSql(1, "is UTF-16, not UTF-8", hint)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        raise UnreadableSql(line, f"is not UTF-8: byte 0x{byte:02x}", hint) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UnreadableSql(line, "not a text file: it contains a null byte", hint)
    return text


def _build(
    header: list[tuple[str, int]], statements: tuple[Statement, ...], module: str, path: str
) -> SqlFile:
    stage, after, orch, lines = _read_tags(header)
    miss, miss_line = "", 1
    if stage is None:
        miss = "has STAGE:, but not in a comment before its first statement"
    commits_by_itself = orch is not None and orch.values.get("transaction") == "none"
    for one in statements:
        problem = find_misuse(one, commits_by_itself=commits_by_itself)
        if problem is not None and stage is not None:
            raise problem
    arguments, doc = _read_arguments(statements, lines)
    run = None
    if statements:
        own = ArgumentFacts(name=CONNECTION, line=1, type=UnknownType(text=""))
        run = RunFacts(line=statements[0].line, arguments=(own, *arguments))
    facts = ModuleFacts(
        module=module,
        path=path,
        doc=doc,
        stage=stage,
        after=after,
        orch=orch,
        run=run,
        checks=() if run is None else tuple(_read_checks(statements)),
        miss=miss,
        miss_line=miss_line,
    )
    return SqlFile(facts=facts, statements=statements, meaning=_hash(facts, statements))


def _hash(facts: ModuleFacts, statements: tuple[Statement, ...]) -> str:
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


def _read_checks(statements: Collection[Statement]) -> Iterator[CheckFacts]:
    for one in statements:
        if one.check:
            needs = tuple((name, False) for name in (CONNECTION, *one.parameters))
            yield CheckFacts(name=one.check, line=one.line, needs=needs)


# The first comment.


def _read_header(text: str) -> Iterator[tuple[str, int]]:
    """The lines of the comments before the first statement, without their marks, each with its number."""
    for token in read_first_comments(text):
        if token.text.startswith("--"):
            yield token.text[2:].strip(), token.line
        else:
            for number, line in enumerate(token.text[2:-2].split("\n"), start=token.line):
                yield line.strip().removeprefix("*").strip(), number


def _read_tags(
    header: list[tuple[str, int]],
) -> tuple[Tag | None, Tag | None, OrchTag | None, list[tuple[str, int]]]:
    """STAGE, AFTER and ORCH, and the other lines. `ORCH: {...}` may have several lines."""
    tags: dict[str, Tag] = {}
    orch: OrchTag | None = None
    others: list[tuple[str, int]] = []
    lines = iter(header)
    for line, number in lines:
        found = _TAG.fullmatch(line)
        if _CHECK_LINE.match(line):
            continue
        if found is None:
            others.append((line, number))
        elif found[1] == "ORCH":
            value = found[2]
            while not value.endswith("}") and (more := next(lines, None)):
                value += "\n" + more[0]
            orch = _read_orch(value, number)
        else:
            tags[found[1]] = _read_tag(found[1], found[2], number)
    return tags.get("STAGE"), tags.get("AFTER"), orch, others


def _read_tag(name: str, value: str, line: int) -> Tag:
    """Words between commas; quotes and brackets as in Python may stand around them."""
    given = [one.strip(" \t\"'") for one in value.strip(" ()[]").split(",")]
    words = tuple(one for one in given if one)
    if name == "STAGE" and words == ("None",):
        return Tag(line=line, is_off=True)
    problem = "STAGE is empty" if name == "STAGE" and not words else ""
    return Tag(line=line, words=words, problem=problem)


def _read_orch(value: str, line: int) -> OrchTag:
    import ast

    from discover_orch.source.read_module import read_orch_literal

    try:
        node = ast.parse(value, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return OrchTag(line=line, problem="ORCH is not a dict literal")
    return read_orch_literal(ast.increment_lineno(node, line - 1), line)


def _read_arguments(
    statements: Collection[Statement], lines: list[tuple[str, int]]
) -> tuple[list[ArgumentFacts], str]:
    """The parameters in the order of the statements, and the first line of the description."""
    used: dict[str, int] = {}
    for each in statements:
        for one in each.tokens:
            if one.kind == "parameter":
                used.setdefault(one.text[1:], one.line)
    declared: dict[str, ArgumentFacts] = {}
    doc = ""
    for line, number in lines:
        found = _DECLARATION.fullmatch(line)
        kind = _read_type(found[2]) if found else None
        name = line.partition(":")[0].strip()
        if found and kind is not None and name in used:
            declared[name] = _read_argument(name, kind, found[3], found[4] or "", number)
        elif found and kind is not None:
            hint = did_you_mean(name, used, f"use :{name} in a statement, or remove the line")
            raise UnreadableSql(number, f'declares "{name}", and no statement uses :{name}', hint)
        elif name in used and ":" in line:
            types = ", ".join((*_KINDS, "list[...]"))
            raise UnreadableSql(
                number,
                f"the type of :{name} cannot be read",
                f"{_FORM.format(name=name)}; types: {types}",
            )
        else:
            doc = doc or " ".join(line.split())
    plain = ParamType(base=Scalar(kind="str"))
    if CONNECTION in used:
        raise UnreadableSql(
            used[CONNECTION],
            ":conn cannot be a parameter: it is the connection",
            "choose another name",
        )
    arguments = [
        declared.get(name) or ArgumentFacts(name=name, line=number, type=plain)
        for name, number in used.items()
    ]
    return arguments, doc


def _read_type(word: str) -> ParamType | None:
    many = word.startswith("list[") and word.endswith("]")
    kind = _KINDS.get((word[5:-1] if many else word).lower())
    return None if kind is None else ParamType(base=Scalar(kind=kind), many=many)


def _read_argument(
    name: str, kind: ParamType, source: str | None, help_text: str, line: int
) -> ArgumentFacts:
    """A default is written as one would type it, or NULL; a list with commas."""
    one = ArgumentFacts(name=name, line=line, type=kind, help=" ".join(help_text.split()))
    if source is None:
        return one
    if source.upper() in ("NULL", "NONE"):
        return replace(one, type=replace(kind, optional=True), default_source="None")
    if source[:1] in ("'", '"') and source[-1:] == source[:1] and len(source) > 1:
        source = source[1:-1].replace(source[0] * 2, source[0])
    texts = (
        tuple(part.strip() for part in source.split(",") if part.strip())
        if kind.many
        else (source,)
    )
    try:
        value = Param(name=name, type=kind).convert(texts)
    except ConvertError as error:
        raise UnreadableSql(
            line, f"the default of :{name} does not fit: {error}", "correct it"
        ) from None
    is_plain = isinstance(kind.base, Scalar) and kind.base.kind in _JSON_KINDS
    return replace(
        one,
        default=value if is_plain else None,
        default_source=source,
        default_texts=() if is_plain else texts,
    )
