"""What an SQL statement does to tables, as its text says.

An `Effect` holds names as they were written; `catalog` finds the tables. Statements are parsed with sqlglot,
which is imported only here and only when there is a statement to parse. What is not understood is "unclear":
the tool may then depend on anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Stands for a value in a text whose values were taken out. No table has this name.
BLANK = "?"

#: A name as it was written, the outermost part first: ("main", "records").
Name = tuple[str, ...]


class Effect(Struct, frozen=True, kw_only=True):
    """What one statement does.

    - `created` are new tables; with `if_not_exists`, only where there is none of that name.
      `temporary_created` are new temporary tables.
    - `files_read` and `files_written` are paths or globs in the statement itself.
    - `called` are functions that may be the user's own.
    - `cascades`: a TRUNCATE also empties the tables that refer to its own.
    - `changes_names`: other tables may exist afterwards, or a name may mean another table. With
      `changes_search_path`, names before and after it cannot be resolved together; `rolls_back` may undo
      such a change.
    """

    read: tuple[Name, ...] = ()
    written: tuple[Name, ...] = ()
    created: tuple[Name, ...] = ()
    if_not_exists: bool = False
    temporary_created: tuple[Name, ...] = ()
    files_read: tuple[str, ...] = ()
    files_written: tuple[str, ...] = ()
    called: tuple[str, ...] = ()
    cascades: bool = False
    changes_names: bool = False
    changes_search_path: bool = False
    rolls_back: bool = False
    commits: bool = False
    is_unclear: bool = False


NOTHING = Effect()
SEARCH_PATH_CHANGED = Effect(changes_names=True, changes_search_path=True)
UNCLEAR = Effect(is_unclear=True, changes_names=True)
_LOWER = {ord(one): one.lower() for one in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
#: Longer statements are not parsed: sqlglot parses about 100 kB a second.
LONGEST = 50_000  # characters

_NO_EFFECT = frozenset(
    {"begin", "start", "savepoint", "release", "checkpoint", "lock", "force"}
    | {"show", "explain", "describe", "listen", "unlisten", "notify", "fetch", "close"}
    | {"deallocate", "analyze", "vacuum", "reindex", "grant", "revoke", "comment"}
    | {"load", "install"}
)
_COMMITS = frozenset(["commit", "end"])
_ROLLBACKS = frozenset(["rollback", "abort"])
_SETS = frozenset(["set", "reset", "pragma"])
_CHANGE_SEARCH_PATH = frozenset(["use", "discard", "attach", "detach"])
#: Settings that change where names are looked up.
_SEARCH_SETTINGS = re.compile(
    r"\b(search_path|schema|role|session\s+authorization)\b|^reset\s+all\b", re.I
)
#: A SET for one transaction only, one that reads tables, one that changes where files are found.
_UNCLEAR_SET = re.compile(
    r"set\s+local\s.*\b(search_path|schema|role)\b|set\s.*\(|.*\b(file_search_path|home_directory)\b",
    re.I | re.S,
)
_SET_CONFIG = re.compile(r"\bset_config\s*\((?:\s*'([^']*)'\s*,)?", re.I)
_EXECUTES = re.compile(r"\s*explain\s*(\(|.*\banaly[sz]e\b)", re.I | re.S)
_REFRESH = re.compile(
    r'\s*refresh\s+materialized\s+view\s+(?:concurrently\s+)?((?:[\w$]+|"[^"]+")(?:\.(?:[\w$]+|"[^"]+"))*)',
    re.I,
)
_CALL = re.compile(r'((?<![\w$])[\w$]++|"(?:[^"]|"")+")\s*\(')
#: The options after these words describe the format of the rows, and sqlglot does not parse all of them.
_COPY_OPTIONS = re.compile(r"(\b(?:to\s+stdout|from\s+stdin)\b).*", re.I | re.S)
_COPY_DATABASE = re.compile(r"copy\s+from\s+database\b", re.I)
_EXTENSION = re.compile(r"create\s+(extension|type)\b", re.I)
_CASCADE = re.compile(r"\bcascade\b", re.I)
_ON_COMMIT = re.compile(r"\bon\s+commit\s+(drop|delete\s+rows|preserve\s+rows)\b", re.I)
_PART = re.compile(r'"[^"]*"|[^.]+')

_WITH_KEYS = ("with_", "with")  # depends on the version of sqlglot
#: Functions that read the files that they are given.
_FILE_READERS = re.compile(
    r"(read_(csv|csv_auto|parquet|json|json_auto|json_objects|json_objects_auto|ndjson|ndjson_auto|"
    r"ndjson_objects|text|blob)|parquet_(scan|metadata|schema|file_metadata|kv_metadata)|sniff_csv)$",
    re.I,
)
#: DuckDB's table functions that read no table and no file of the project.
_HARMLESS = re.compile(
    r"(range|generate_series|unnest|generate_subscripts|repeat|(duckdb|pragma|icu)_\w+)$", re.I
)
#: Functions that run a text as SQL, or read another database.
_RUNS_TEXT = re.compile(
    r"(query|query_table|dblink\w*|query_to_xml\w*|table_to_xml\w*|cursor_to_xml\w*|schema_to_xml\w*|"
    r"database_to_xml\w*|(postgres|mysql|sqlite)_(query|execute|scan\w*))$",
    re.I,
)


def read_statements(text: str, dialect: str) -> tuple[Effect, ...]:
    """The effects of the statements in a text, in their order. Never raises."""
    if len(text) > LONGEST:
        return (UNCLEAR,)
    try:
        return tuple(_read_statement(one, dialect) for one in _split(text, dialect))
    except Exception:  # sqlglot raises more than its own errors
        return (UNCLEAR,)


def _split(text: str, dialect: str) -> Iterator[str]:
    """The single statements, without comments before them."""
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


def _read_statement(text: str, dialect: str) -> Effect:
    found = re.match(r"\w+", text)
    word = found[0].lower() if found else ""
    if word in _COMMITS:
        return Effect(commits=True)
    if word in _ROLLBACKS:
        return Effect(rolls_back=True)
    if word in _SETS:
        if _UNCLEAR_SET.match(text):
            return UNCLEAR
        return SEARCH_PATH_CHANGED if _SEARCH_SETTINGS.search(text) else NOTHING
    if word in _CHANGE_SEARCH_PATH:
        return SEARCH_PATH_CHANGED
    if word in _NO_EFFECT:
        return UNCLEAR if _EXECUTES.match(text) else NOTHING
    if refreshed := _REFRESH.match(text):
        name = tuple(_unquote(part, dialect) for part in _PART.findall(refreshed[1]))
        return Effect(read=(name,), written=(name,))
    if _EXTENSION.match(text):
        return Effect(changes_names=True)
    if word == "copy":
        if _COPY_DATABASE.match(text):
            return UNCLEAR
        text = _COPY_OPTIONS.sub(r"\1", text)
    effect = _Reader(dialect).read(_parse(_ON_COMMIT.sub("", text), dialect))
    called = dict.fromkeys(one.strip('"').lower() for one in _CALL.findall(text))
    is_moving = _may_change_search_path(text)
    return replace(
        effect,
        called=tuple(called),
        cascades=word == "truncate" and bool(_CASCADE.search(text)),
        changes_names=effect.changes_names or is_moving,
        changes_search_path=is_moving,
        is_unclear=effect.is_unclear or is_moving,
    )


def _may_change_search_path(text: str) -> bool:
    """Whether `set_config` is called with a setting that changes where names are looked up."""
    names = [found[1] for found in _SET_CONFIG.finditer(text)]
    return any(one in (None, BLANK) or _SEARCH_SETTINGS.search(one) for one in names)


def _parse(text: str, dialect: str) -> Any:
    import logging

    import sqlglot

    logger = logging.getLogger("sqlglot")  # it warns of statements that it does not understand
    was_disabled, logger.disabled = logger.disabled, True
    try:
        return sqlglot.parse_one(text, read=dialect)
    finally:
        logger.disabled = was_disabled


def _unquote(part: str, dialect: str) -> str:
    is_quoted = part[:1] == '"'
    return _fold(part.strip('"'), is_quoted, dialect)


def _fold(name: str, is_quoted: bool, dialect: str) -> str:
    if dialect != "postgres":
        return name.lower()
    # PostgreSQL folds ASCII letters only, and keeps 63 bytes of a name.
    folded = name if is_quoted else name.translate(_LOWER)
    return folded if len(folded) < 16 else folded.encode()[:63].decode(errors="ignore")


class _Reader:
    """Reads the effect of one syntax tree."""

    def __init__(self, dialect: str) -> None:
        from sqlglot import exp

        self._exp: Any = exp
        self._dialect = dialect
        self._files: dict[str, None] = {}
        self._is_unclear = False

    def read(self, tree: Any) -> Effect:
        exp = self._exp
        match tree:
            case exp.Insert():
                conflict = tree.args.get("conflict")
                also_read = conflict is not None and self._reads_rows(conflict)
                return self._effect(tree, written=[_find_table(tree.this)], also_read=also_read)
            case exp.Update():
                also_read = self._reads_rows(tree)
                return self._effect(tree, written=[tree.this], also_read=also_read)
            case exp.Delete():
                targets = tree.args.get("tables") or [tree.this]
                also_read = self._reads_rows(tree)
                return self._effect(tree, written=targets, also_read=also_read)
            case exp.Merge():
                return self._effect(tree, written=[tree.this], also_read=True)
            case exp.TruncateTable():
                return self._effect(tree, written=tree.expressions)
            case exp.Create():
                return self._read_create(tree)
            case exp.Drop():
                return self._read_drop(tree)
            case exp.Alter():
                return self._read_alter(tree)
            case exp.Copy():
                return self._read_copy(tree)
            case exp.Query() | exp.Values() | exp.Table() | exp.Pivot():
                into = tree.args.get("into")
                if into is None:
                    return self._effect(tree)
                if into.args.get("temporary"):
                    return self._effect(tree, temporary_created=[into.this], changes_names=True)
                return self._effect(tree, created=[into.this], changes_names=True)
            case exp.Summarize():
                return self._effect(tree)
        return UNCLEAR

    def _reads_rows(self, tree: Any) -> bool:
        """Whether an UPDATE, a DELETE or the ON CONFLICT of an INSERT depends on existing rows."""
        exp = self._exp
        if tree.args.get("where") or tree.args.get("returning"):
            return True
        return any(
            column.table.lower() != "excluded"
            for one in tree.expressions
            for column in (one.expression if isinstance(one, exp.EQ) else one).find_all(exp.Column)
        )

    def _read_alter(self, tree: Any) -> Effect:
        if (tree.args.get("kind") or "").upper() not in ("TABLE", "VIEW"):
            return Effect(changes_names=True)
        renamed = [one.this for one in tree.find_all(self._exp.AlterRename)]
        effect = self._effect(tree, written=[tree.this, *renamed], changes_names=True)
        # The new name is in the schema of the old one.
        old, *new = effect.written or ((),)
        return replace(effect, written=(old, *((*old[:-1], one[-1]) for one in new)))

    def _read_create(self, tree: Any) -> Effect:
        kind = (tree.args.get("kind") or "").upper()
        if kind not in ("TABLE", "VIEW"):
            # An index reads nothing that counts; a trigger or a function acts when it is called.
            return Effect(changes_names=True)
        exp, target = self._exp, _find_table(tree.this)
        properties = tree.args.get("properties")
        if properties is not None and properties.find(exp.TemporaryProperty):
            return self._effect(tree, temporary_created=[target], changes_names=True)
        effect = self._effect(tree, created=[target], changes_names=True)
        return replace(effect, if_not_exists=bool(tree.args.get("exists")))

    def _read_drop(self, tree: Any) -> Effect:
        kind = (tree.args.get("kind") or "").upper()
        if kind not in ("TABLE", "VIEW"):
            return UNCLEAR if kind == "SCHEMA" else Effect(changes_names=True)
        targets = tree.args.get("tables") or [tree.this]
        return self._effect(tree, written=targets, changes_names=True)

    def _read_copy(self, tree: Any) -> Effect:
        given = tree.args.get("files") or ()
        # With PostgreSQL these are files of the server.
        files = self._paths(given) if self._dialect == "duckdb" else ()
        if tree.args.get("kind"):
            effect = self._effect(tree, written=[_find_table(tree.this)])
            return replace(effect, files_read=(*effect.files_read, *files))
        effect = self._effect(tree)
        return replace(effect, files_written=files)

    def _effect(
        self,
        tree: Any,
        *,
        written: Iterable[Any] = (),
        created: Iterable[Any] = (),
        temporary_created: Iterable[Any] = (),
        also_read: object = None,
        changes_names: bool = False,
    ) -> Effect:
        """All other tables in the tree are read; with `also_read`, the written ones too."""
        exp = self._exp
        written, created, temporary_created = [*written], [*created], [*temporary_created]
        targets = {id(one) for one in (*written, *created, *temporary_created)}
        if also_read:
            targets.clear()
        read: dict[Name, None] = {}
        more: list[Any] = []
        # Locking a table, or a column's REFERENCES to it, does not read it.
        ignored = exp.Lock, exp.Reference
        writers = exp.Insert, exp.Update, exp.Delete, exp.Merge
        for node in tree.walk(prune=lambda one: isinstance(one, ignored)):
            if isinstance(node, exp.Table):
                if id(node) not in targets:
                    self._read_table(node, read)
            elif isinstance(node, exp.Command) or self._runs_text(node):
                self._is_unclear = True
            elif (
                isinstance(node, writers) and node is not tree and not node.find_ancestor(exp.When)
            ):
                more.append(
                    _find_table(node.this)
                )  # in a WITH; those in a MERGE write to its table
        return Effect(
            read=tuple(read),
            written=self._names((*written, *more)),
            created=self._names(created),
            temporary_created=self._names(temporary_created),
            files_read=tuple(self._files),
            changes_names=changes_names,
            is_unclear=self._is_unclear,
        )

    def _runs_text(self, node: Any) -> bool:
        return isinstance(node, self._exp.Anonymous) and bool(_RUNS_TEXT.match(str(node.this)))

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
        elif len(name) > 1 or not _is_common_table(table, name[0], self._dialect):
            read[name] = None
            if self._dialect == "duckdb" and len(name) == 1 and {".", "/"} & {*table.name}:
                self._files[table.name] = None  # `catalog` drops it if there is such a table

    def _read_function(self, node: Any) -> None:
        """A function in the place of a table: it may read files, or anything."""
        exp = self._exp
        called = str(node.this) if isinstance(node, exp.Anonymous) else node.sql_name()
        is_csv = isinstance(node, exp.ReadCSV)
        if is_csv or called.upper() == "READ_PARQUET" or _FILE_READERS.match(called):
            given = [node.this] if is_csv else node.expressions[:1]
            if given and isinstance(given[0], exp.Array):
                given = given[0].expressions
            self._files.update(dict.fromkeys(self._paths(given)))
        elif isinstance(node, exp.Anonymous):
            is_known = self._dialect != "duckdb" or _HARMLESS.match(called)
            if not is_known:
                self._is_unclear = True

    def _paths(self, given: Iterable[Any]) -> tuple[str, ...]:
        """The literal paths. A parameter is skipped; any other expression is unclear."""
        exp = self._exp
        paths = []
        for one in given:
            if getattr(one, "is_string", False) and one.name != BLANK:
                paths.append(one.name)
            elif not isinstance(one, exp.Placeholder | exp.Parameter | exp.Table):
                self._is_unclear = True
        return tuple(paths)


def _find_table(node: Any) -> Any:
    """The table in a node that may have a list of columns around it."""
    while node is not None and type(node).__name__ in ("Schema", "Subquery", "UserDefinedFunction"):
        node = node.this
    return node


def _is_union(query: Any) -> bool:
    return any(kind.__name__ == "SetOperation" for kind in type(query).__mro__)


def _is_common_table(table: Any, name: str, dialect: str) -> bool:
    """Whether the name means a common table expression (of a WITH) that is visible at this place."""
    read_with, below, node = table, table, table.parent
    while node is not None:
        common = next((node.args[key] for key in _WITH_KEYS if node.args.get(key)), None)
        if common is not None:
            # In the list itself, an expression sees those before it. With RECURSIVE, each sees all of them
            # in PostgreSQL; in DuckDB, a union also sees itself.
            is_recursive = bool(common.args.get("recursive"))
            is_within = below is common and not (is_recursive and dialect != "duckdb")
            for one in common.expressions:
                is_last = is_within and one is read_with
                if is_last and not (is_recursive and _is_union(one.this)):
                    break
                alias = one.args["alias"].this
                if _fold(alias.name, bool(alias.args.get("quoted")), dialect) == name:
                    return True
                if is_last:
                    break
        read_with, below, node = below, node, node.parent
    return False
