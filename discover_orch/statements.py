"""What a statement of SQL does to tables, as its text says.

In: a text and its dialect. Out: an `Effect`: names as they were written, which `catalog` makes tables of. Parsed with
sqlglot, which is imported here alone and only when there is something to parse. What is not understood is unclear: a
tool may then depend on anything. Texts that differ in values alone have one shape.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from discover_orch.value import replace, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: A name as it was written, the outermost part first: ("main", "records").
Name = tuple[str, ...]


@value
class Effect:
    """What one statement does.

    `made` is created if there is none of that name; `passing` are temporary tables that it creates. `files_read` and
    `files_written` are paths or globs that it names itself. `called` are functions that may be the user's own.
    `changes_names`: which tables there are, or what a name means, may be another after it; with `moves_names` the
    latter, so that what was heard before it and after it cannot be looked up together.
    """

    read: tuple[Name, ...] = ()
    written: tuple[Name, ...] = ()
    made: tuple[Name, ...] = ()
    passing: tuple[Name, ...] = ()
    files_read: tuple[str, ...] = ()
    files_written: tuple[str, ...] = ()
    called: tuple[str, ...] = ()
    changes_names: bool = False
    moves_names: bool = False
    commits: bool = False
    is_unclear: bool = False


NOTHING = Effect()
UNCLEAR = Effect(is_unclear=True, changes_names=True)
#: In the place of a text in a shape; nobody calls a table so.
BLANK = "?"
#: Longer ones are not parsed: a parser in Python reads some 100 kB in a second.
LONGEST = 50_000

_QUIET = frozenset(
    {"begin", "start", "rollback", "abort", "savepoint", "release", "checkpoint", "lock", "force"}
    | {"show", "explain", "describe", "pragma", "listen", "unlisten", "notify", "fetch", "close"}
    | {
        "deallocate",
        "analyze",
        "vacuum",
        "reindex",
        "grant",
        "revoke",
        "comment",
        "load",
        "install",
    }
)
_COMMITS = frozenset(["commit", "end"])
_MOVES = frozenset(["set", "reset", "use", "discard", "attach", "detach"])
#: Settings that say where names are looked up.
_PLACES = re.compile(r"\b(search_path|schema|role|session\s+authorization)\b", re.I)
_EXECUTES = re.compile(r"\s*explain\s*(\(|.*\banaly[sz]e\b)", re.I | re.S)
_REFRESH = re.compile(
    r'\s*refresh\s+materialized\s+view\s+(?:concurrently\s+)?((?:[\w$]+|"[^"]+")(?:\.(?:[\w$]+|"[^"]+"))*)',
    re.I,
)
_ON_COMMIT = re.compile(r"\bon\s+commit\s+(drop|delete\s+rows|preserve\s+rows)\b", re.I)
_PART = re.compile(r'"[^"]*"|[^.]+')

# What makes it unsafe to take texts and numbers out without a parser: escapes, dollar quotes, comments.
_TRICKY = re.compile(r"\\|\$\w*\$|--|/\*|\bE'", re.I)
_VALUE = re.compile(
    r'"(?:[^"]|"")*"|\'(?:[^\']|\'\')*\'|(?<![\w.$:"%])\d+(?:\.\d*)?(?:[eE][+-]?\d+)?\b'
)
_ROWS = re.compile(r"(?:\([^()]*\)\s*,\s*)+(?=\([^()]*\))")
_DATA = re.compile(r"\s*(select|insert|update|delete|with|merge|replace|values|from)\b", re.I)

_WITHIN = ("with_", "with")  # sqlglot's name of it has changed
#: Functions that read the files which they are given.
_FILE_READERS = re.compile(
    r"(read_(csv|csv_auto|parquet|json|json_auto|json_objects|json_objects_auto|ndjson|ndjson_auto|"
    r"ndjson_objects|text|blob)|parquet_(scan|metadata|schema|file_metadata|kv_metadata)|sniff_csv)$",
    re.I,
)
#: DuckDB's table functions that read no table and no file of the project.
_HARMLESS = re.compile(
    r"(range|generate_series|unnest|generate_subscripts|repeat|glob|(duckdb|pragma|icu)_\w+)$", re.I
)
#: Functions that run a text, or read another database.
_RUNS_TEXT = re.compile(
    r"(query|query_table|dblink\w*|query_to_xml\w*|table_to_xml\w*|cursor_to_xml\w*|schema_to_xml\w*|"
    r"database_to_xml\w*|(postgres|mysql|sqlite)_(query|execute|scan\w*))$",
    re.I,
)


def shape_of(text: str) -> str:
    """The text with blanks for its texts and numbers, and one row for many; as it is, where that is not safe."""
    if _TRICKY.search(text) or not _DATA.match(text):
        return text
    blank = _VALUE.sub(lambda one: one[0] if one[0][0] == '"' else "'?'", text)
    return _ROWS.sub("", blank)


def read_statements(text: str, dialect: str) -> tuple[Effect, ...]:
    """The effects of the statements in a text, in their order; nothing is raised."""
    if len(text) > LONGEST:
        return (UNCLEAR,)
    try:
        return tuple(_read_one(one, dialect) for one in _split(text, dialect))
    except Exception:  # whatever a parser stumbles over
        return (UNCLEAR,)


def _split(text: str, dialect: str) -> Iterator[str]:
    """The single statements; their comments before them are gone."""
    from sqlglot import TokenType, tokenize

    tokens = tokenize(text, read=dialect)
    start: int | None = None
    for token in tokens:
        if token.token_type == TokenType.SEMICOLON:
            if start is not None:
                yield text[start : token.start]
            start = None
        elif start is None:
            start = token.start
    if start is not None:
        yield text[start:]


def _read_one(text: str, dialect: str) -> Effect:
    found = re.match(r"\w+", text)
    word = found[0].lower() if found else ""
    if word in _COMMITS:
        return Effect(commits=True)
    if word in _MOVES:
        is_local = word in ("set", "reset") and not _PLACES.search(text)
        return NOTHING if is_local else Effect(changes_names=True, moves_names=True)
    if word in _QUIET:
        return UNCLEAR if _EXECUTES.match(text) else NOTHING
    if refreshed := _REFRESH.match(text):
        name = tuple(_unquote(part, dialect) for part in _PART.findall(refreshed[1]))
        return Effect(read=(name,), written=(name,))
    return _Reader(dialect).read(_parse(_ON_COMMIT.sub("", text), dialect))


def _parse(text: str, dialect: str) -> Any:
    import logging

    import sqlglot

    logger = logging.getLogger(
        "sqlglot"
    )  # of a text that it does not understand it writes warnings
    was_disabled, logger.disabled = logger.disabled, True
    try:
        return sqlglot.parse_one(text, read=dialect)
    finally:
        logger.disabled = was_disabled


def _unquote(part: str, dialect: str) -> str:
    is_quoted = part[:1] == '"'
    return _fold(part.strip('"'), is_quoted, dialect)


def _fold(name: str, is_quoted: bool, dialect: str) -> str:
    return name if is_quoted and dialect == "postgres" else name.lower()


class _Reader:
    """Of one syntax tree."""

    def __init__(self, dialect: str) -> None:
        from sqlglot import exp

        self._exp: Any = exp
        self._dialect = dialect
        self._files: dict[str, None] = {}
        self._called: dict[str, None] = {}
        self._is_unclear = False

    def read(self, tree: Any) -> Effect:
        exp = self._exp
        match tree:
            case exp.Insert():
                target = _bare(tree.this)
                return self._effect(tree, written=[target])
            case exp.Update():
                return self._effect(tree, written=[tree.this], also_read=tree.args.get("where"))
            case exp.Delete():
                targets = tree.args.get("tables") or [tree.this]
                return self._effect(tree, written=targets, also_read=tree.args.get("where"))
            case exp.Merge():
                return self._effect(tree, written=[tree.this], also_read=True)
            case exp.TruncateTable():
                return self._effect(tree, written=tree.expressions)
            case exp.Create():
                return self._read_create(tree)
            case exp.Drop():
                return self._read_drop(tree)
            case exp.Alter():
                renamed = [one.this for one in tree.find_all(exp.AlterRename)]
                effect = self._effect(tree, written=[tree.this, *renamed])
                return replace(effect, changes_names=True)
            case exp.Copy():
                return self._read_copy(tree)
            case exp.Query() | exp.Values() | exp.Table() | exp.Pivot():
                into = tree.args.get("into")
                if into is None:
                    return self._effect(tree)
                if into.args.get("temporary"):
                    return self._effect(tree, passing=[into.this], changes_names=True)
                return self._effect(tree, written=[into.this], changes_names=True)
            case exp.Summarize():
                return self._effect(tree)
        return UNCLEAR

    def _read_create(self, tree: Any) -> Effect:
        kind = (tree.args.get("kind") or "").upper()
        if kind not in ("TABLE", "VIEW"):
            # What an index is made of is read by nobody; and a trigger or a function acts when it is called.
            return Effect(changes_names=True)
        exp, target = self._exp, _bare(tree.this)
        properties = tree.args.get("properties")
        if properties is not None and properties.find(exp.TemporaryProperty):
            return self._effect(tree, passing=[target], changes_names=True)
        if tree.args.get("exists"):
            return self._effect(tree, made=[target], changes_names=True)
        return self._effect(tree, written=[target], changes_names=True)

    def _read_drop(self, tree: Any) -> Effect:
        kind = (tree.args.get("kind") or "").upper()
        if kind not in ("TABLE", "VIEW"):
            return UNCLEAR if kind == "SCHEMA" else Effect(changes_names=True)
        targets = tree.args.get("tables") or [tree.this]
        return self._effect(tree, written=targets, changes_names=True)

    def _read_copy(self, tree: Any) -> Effect:
        files = tuple(one.name for one in tree.args.get("files") or () if _is_text(one))
        if self._dialect != "duckdb":
            files = ()  # they are the server's
        if tree.args.get("kind"):
            effect = self._effect(tree, written=[_bare(tree.this)])
            return replace(effect, files_read=(*effect.files_read, *files))
        effect = self._effect(tree)
        return replace(effect, files_written=files)

    def _effect(
        self,
        tree: Any,
        *,
        written: Iterable[Any] = (),
        made: Iterable[Any] = (),
        passing: Iterable[Any] = (),
        also_read: object = None,
        changes_names: bool = False,
    ) -> Effect:
        """All other tables in the tree are read, what is written too where rows are looked for in it."""
        exp = self._exp
        written, made, passing = [*written], [*made], [*passing]
        targets = {id(one) for one in (*written, *made, *passing)}
        if also_read:
            targets.clear()
        read: dict[Name, None] = {}
        more: list[Any] = []
        for node in tree.walk():
            if isinstance(node, exp.Table):
                if id(node) not in targets:
                    self._read_table(node, read)
            elif isinstance(node, exp.Anonymous):
                self._note_call(str(node.this), node)
            elif isinstance(node, exp.Command):
                self._is_unclear = True
            elif node is not tree and isinstance(node, exp.Insert | exp.Update | exp.Delete):
                more.append(_bare(node.this))  # within a WITH
        return Effect(
            read=tuple(read),
            written=self._names((*written, *more)),
            made=self._names(made),
            passing=self._names(passing),
            files_read=tuple(self._files),
            called=tuple(self._called),
            changes_names=changes_names,
            is_unclear=self._is_unclear,
        )

    def _names(self, tables: Iterable[Any]) -> tuple[Name, ...]:
        names = []
        for table in tables:
            name = self._name(table) if isinstance(table, self._exp.Table) else ()
            if name:
                names.append(name)
            else:
                self._is_unclear = True
        return tuple(names)

    def _name(self, table: Any) -> Name:
        parts = [one for one in table.parts if isinstance(one, self._exp.Identifier)]
        if len(parts) != len(table.parts):
            return ()
        return tuple(_fold(one.name, bool(one.args.get("quoted")), self._dialect) for one in parts)

    def _read_table(self, table: Any, read: dict[Name, None]) -> None:
        name = self._name(table)
        if not name:
            self._read_function(table.this)
        elif name == (BLANK,):
            self._is_unclear = True
        elif len(name) > 1 or not _is_common(table, name[0], self._dialect):
            read[name] = None
            if self._dialect == "duckdb" and len(name) == 1 and {".", "/"} & {*table.name}:
                self._files[table.name] = None  # unless there is such a table

    def _read_function(self, node: Any) -> None:
        """In the place of a table: it may read files, or anything."""
        exp = self._exp
        called = str(node.this) if isinstance(node, exp.Anonymous) else node.sql_name()
        if isinstance(node, exp.ReadCSV | exp.ReadParquet) or _FILE_READERS.match(called):
            given = node.this if isinstance(node, exp.ReadCSV) else None
            if given is None:
                given = node.expressions[0] if node.expressions else None
            texts: list[Any] = given.expressions if isinstance(given, exp.Array) else [given]
            self._files.update((one.name, None) for one in texts if _is_text(one))
        elif isinstance(node, exp.Anonymous):
            if self._dialect == "duckdb" and not _HARMLESS.match(called):
                self._is_unclear = True
            self._note_call(called, node)

    def _note_call(self, called: str, node: Any) -> None:
        if _RUNS_TEXT.match(called):
            self._is_unclear = True
        self._called[called.lower()] = None


def _bare(node: Any) -> Any:
    """The table that a list of columns belongs to."""
    while node is not None and type(node).__name__ in ("Schema", "Subquery", "UserDefinedFunction"):
        node = node.this
    return node


def _is_text(node: Any) -> bool:
    return bool(getattr(node, "is_string", False))


def _is_common(table: Any, name: str, dialect: str) -> bool:
    """Whether the name is that of a part of the query, of a WITH around it: one that is seen from there."""
    within, below, node = table, table, table.parent
    while node is not None:
        common = next((node.args[key] for key in _WITHIN if node.args.get(key)), None)
        if common is not None:
            # Within the list itself a part sees those before it; of a recursive one all see all.
            is_within = below is common and not common.args.get("recursive")
            for one in common.expressions:
                if is_within and one is within:
                    break
                alias = one.args["alias"].this
                if _fold(alias.name, bool(alias.args.get("quoted")), dialect) == name:
                    return True
        within, below, node = below, node, node.parent
    return False
