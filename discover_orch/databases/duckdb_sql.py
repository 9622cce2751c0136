"""What a DuckDB statement does to tables and files, as its text says.

An `Effect` holds names as they were written; `duckdb_catalog` finds the tables. sqlglot, which parses the statements,
is imported only when there is one. What is not understood is "unclear": the tool may then depend on anything.
A WITH that has the name of a table counts as that table.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.model.table_keys import WHOLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DIALECT = "duckdb"
#: Longer statements are not parsed: sqlglot parses about 100 kB a second.
LONGEST = 50_000  # characters

#: A name as it was written, in small letters, the outermost part first: ("main", "records").
Name = tuple[str, ...]


class Effect(Struct, frozen=True, kw_only=True):
    """What one statement does.

    - `inserted` are those of `written` into which it only inserts new rows. `kept` are tables that get an index,
      or that it would drop. `looked_up` are tables of IF EXISTS. With `lists_tables` it reads the list of tables.
    - `asked` are bare names of tables, in whatever schema, whose columns it asks for; WHOLE for all.
    - `created` are new tables; with `if_not_exists`, only where there is none of that name. `creates_empty`: they
      have no rows. `temporary_created` are new temporary tables.
    - `files_read` and `files_written` are paths or globs in the statement itself.
    - `called` are functions that may be the user's own.
    - `changes_names`: other tables may exist afterwards.
    """

    read: tuple[Name, ...] = ()
    written: tuple[Name, ...] = ()
    inserted: tuple[Name, ...] = ()
    kept: tuple[Name, ...] = ()
    looked_up: tuple[Name, ...] = ()
    lists_tables: bool = False
    asked: tuple[str, ...] = ()
    created: tuple[Name, ...] = ()
    if_not_exists: bool = False
    creates_empty: bool = False
    temporary_created: tuple[Name, ...] = ()
    files_read: tuple[str, ...] = ()
    files_written: tuple[str, ...] = ()
    called: tuple[str, ...] = ()
    changes_names: bool = False
    commits: bool = False
    is_unclear: bool = False


NOTHING = Effect()
UNCLEAR = Effect(is_unclear=True, changes_names=True)

_NO_EFFECT = frozenset(
    {"begin", "start", "checkpoint", "force", "show", "explain", "describe", "deallocate"}
    | {"analyze", "vacuum", "comment", "load", "install", "rollback", "abort"}
)  # fmt: skip
_SETS = frozenset(["set", "reset", "pragma"])
#: A SET that reads tables, or changes where tables or files are found.
_UNCLEAR_SET = re.compile(
    r"set\s.*\(|.*\b(search_path|schema|file_search_path|home_directory)\b", re.I | re.S
)
_SHOWS_TABLES = re.compile(r"show\s+tables(\s+from\b.*)?\s*$|pragma\s+show_tables\s*;?\s*$", re.I)
_SHOWS_ALL_COLUMNS = re.compile(
    r"(show|desc|describe)(\s+(all\s+)?tables)?\s*$|pragma\s+show_tables_expanded\b", re.I
)
#: The columns of the table, or of the query.
_SHOWS_COLUMNS = re.compile(r"(?:show|desc|describe)\s+(?:table\s+)?(.+)", re.I | re.S)
_PRAGMA_OF_TABLE = re.compile(
    r"pragma\s+(?:table_info|storage_info|show)\s*(?:\(|=)\s*'?(.+?)'?\s*\)?\s*$", re.I | re.S
)
_NO_QUERY = re.compile(r"(databases|schemas|variables)\s*$", re.I)
_EXECUTES = re.compile(r"\s*explain\s*(\(|.*\banaly[sz]e\b)", re.I | re.S)
_CALL = re.compile(r'((?<![\w$])[\w$]++|"(?:[^"]|"")+")\s*\(')
_COPY_DATABASE = re.compile(r"copy\s+from\s+database\b", re.I)
_TYPE = re.compile(r"create\s+type\b", re.I)
#: A statement that sets nothing.
DATA = re.compile(r"\s*(select|insert|update|delete|with|merge|replace|values|from)\b", re.I)
#: Functions that read the files that they are given.
_FILE_READERS = re.compile(
    r"(read_(csv|csv_auto|parquet|json|json_auto|json_objects|json_objects_auto|ndjson|ndjson_auto|"
    r"ndjson_objects|text|blob)|parquet_(scan|metadata|schema|file_metadata|kv_metadata)|sniff_csv)$",
    re.I,
)
#: Table functions that read no table and no file of the project.
_HARMLESS = re.compile(
    r"(range|generate_series|unnest|generate_subscripts|repeat|(duckdb|pragma|icu)_\w+)$", re.I
)
#: Functions that run a text as SQL, or read another database.
_RUNS_TEXT = re.compile(
    r"(query|query_table|(postgres|mysql|sqlite)_(query|execute|scan\w*))$", re.I
)
#: Tables and functions with a row for each table; bare, or in the standard's schema.
_LISTS = frozenset(
    {"pg_class", "pg_tables", "pg_views", "sqlite_master", "sqlite_schema", "pragma_show_tables"}
    | {"duckdb_tables", "duckdb_views"}
)  # fmt: skip
_STANDARD_LISTS = frozenset({"tables", "views"})
#: With a row for each column; and functions that are given the name of a table.
_COLUMN_LISTS = frozenset(
    {"pg_attribute", "pg_attrdef", "pg_constraint", "pg_index", "pg_indexes", "duckdb_columns"}
    | {"duckdb_constraints", "duckdb_indexes", "pragma_show_tables_expanded"}
)  # fmt: skip
_STANDARD_COLUMN_LISTS = frozenset(
    {"columns", "key_column_usage", "table_constraints", "constraint_column_usage"}
)
_OF_TABLE = frozenset({"pragma_table_info", "pragma_storage_info", "pragma_show"})
#: Columns of a list of tables that say what columns these have.
_TELLS_COLUMNS = frozenset({"sql", "column_count", "relnatts", "view_definition", "definition"})
_NAMES_TABLE = frozenset({"table_name", "view_name", "relname", "tablename", "name", "tbl_name"})


@functools.lru_cache(maxsize=512)
def read_statements(text: str) -> tuple[Effect, ...]:
    """The effects of the statements in a text, in their order. Never raises."""
    if len(text) > LONGEST:
        return (UNCLEAR,)
    try:
        return tuple(_read_statement(one) for one in _split(text))
    except Exception:  # sqlglot raises more than its own errors
        return (UNCLEAR,)


def _split(text: str) -> Iterator[str]:
    """The single statements, without comments before them."""
    from sqlglot import TokenType, tokenize

    start: int | None = None
    for token in tokenize(text, read=DIALECT):
        if token.token_type == TokenType.SEMICOLON:
            if start is not None:
                yield text[start : token.start]
            start = None
        elif start is None:
            start = token.start
    if start is not None:
        yield text[start:]


def _read_statement(text: str) -> Effect:
    found = re.match(r"\w+", text)
    word = found[0].lower() if found else ""
    if _SHOWS_TABLES.match(text):
        return Effect(lists_tables=True)
    if _SHOWS_ALL_COLUMNS.match(text):
        return Effect(lists_tables=True, asked=(WHOLE,))
    shows = _PRAGMA_OF_TABLE.match(text) or _SHOWS_COLUMNS.match(text)
    if shows:
        return NOTHING if _NO_QUERY.match(shows[1]) else _read_shown(shows[1])
    if word in ("commit", "end"):
        return Effect(commits=True)
    if word in _SETS and _UNCLEAR_SET.match(text):
        return UNCLEAR
    if word in ("attach", "detach") or _TYPE.match(text):
        return Effect(changes_names=True)
    if word in _SETS:
        return NOTHING
    if word in _NO_EFFECT:
        return UNCLEAR if _EXECUTES.match(text) else NOTHING
    if _COPY_DATABASE.match(text):
        return UNCLEAR
    return _read_query(text)


def _read_shown(text: str) -> Effect:
    """DESCRIBE of a query, or of what may be the name of a table."""
    return _read_query(text if DATA.match(text) or text[0] == "(" else f"SELECT * FROM {text}")


def _read_query(text: str) -> Effect:
    effect = _Reader().read(_parse(text))
    called = dict.fromkeys(one.strip('"').lower() for one in _CALL.findall(text))
    return replace(effect, called=tuple(called))


def _parse(text: str) -> Any:
    import logging

    import sqlglot

    logger = logging.getLogger("sqlglot")  # it warns of statements that it does not understand
    was_disabled, logger.disabled = logger.disabled, True
    try:
        return sqlglot.parse_one(text, read=DIALECT)
    finally:
        logger.disabled = was_disabled


class _Reader:
    """Reads the effect of one syntax tree: all tables in it are read but its targets."""

    def __init__(self) -> None:
        from sqlglot import exp

        self._exp: Any = exp
        self._targets: list[Any] = []
        self._reads_targets = False
        self._read: dict[Name, None] = {}
        self._files: dict[str, None] = {}
        self._lists_tables = False
        self._asked: dict[str, None] = {}
        self._lists: list[Name] = []
        self._is_unclear = False

    def read(self, tree: Any) -> Effect:
        exp = self._exp
        match tree:
            case exp.Insert():
                conflict = tree.args.get("conflict")
                self._reads_targets = bool(conflict is not None and conflict.expressions)
                written = self._aim_at(tree.this)
                # Whether it neither replaces nor skips rows.
                more = ("conflict", "overwrite", "alternative", "ignore")
                inserted = () if any(tree.args.get(one) for one in more) else written
                return self._build(tree, written=written, inserted=inserted)
            case exp.Delete():
                self._reads_targets = bool(tree.args.get("where") or tree.args.get("returning"))
                targets = tree.args.get("tables") or [tree.this]
                return self._build(tree, written=self._aim_at(*targets))
            case exp.Update() | exp.Merge():
                self._reads_targets = True
                return self._build(tree, written=self._aim_at(tree.this))
            case exp.TruncateTable():
                return self._build(tree, written=self._aim_at(*tree.expressions))
            case exp.Create():
                return self._read_create(tree)
            case exp.Drop():
                return self._read_drop(tree)
            case exp.Alter():
                return self._read_alter(tree)
            case exp.Copy():
                return self._read_copy(tree)
            case exp.Query() | exp.Values() | exp.Table() | exp.Pivot() | exp.Summarize():
                return self._build(tree)
        return UNCLEAR

    def _read_alter(self, tree: Any) -> Effect:
        if (tree.args.get("kind") or "").upper() not in ("TABLE", "VIEW"):
            return Effect(changes_names=True)
        renamed = [one.this for one in tree.find_all(self._exp.AlterRename)]
        old, *new = self._aim_at(tree.this, *renamed) or ((),)
        # The new name is in the schema of the old one.
        written = (old, *((*old[:-1], one[-1]) for one in new))
        looked_up = (old,) if tree.args.get("exists") else ()
        return self._build(tree, written=written, looked_up=looked_up, changes_names=True)

    def _read_create(self, tree: Any) -> Effect:
        kind = (tree.args.get("kind") or "").upper()
        if kind not in ("TABLE", "VIEW"):
            # An index reads nothing that counts; a trigger or a function acts when it is called.
            table = tree.this.args.get("table") if kind == "INDEX" and tree.this else None
            return Effect(changes_names=True, kept=self._aim_at(table) if table else ())
        created = self._aim_at(tree.this)
        properties = tree.args.get("properties")
        if properties is not None and properties.find(self._exp.TemporaryProperty):
            return self._build(tree, temporary_created=created, changes_names=True)
        has_rows = tree.expression is not None or tree.args.get("clone")
        return self._build(
            tree,
            created=created,
            if_not_exists=bool(tree.args.get("exists")),
            creates_empty=kind == "TABLE" and not has_rows and not tree.args.get("replace"),
            changes_names=True,
        )

    def _read_drop(self, tree: Any) -> Effect:
        kind = (tree.args.get("kind") or "").upper()
        if kind not in ("TABLE", "VIEW"):
            return UNCLEAR if kind == "SCHEMA" else Effect(changes_names=True)
        written = self._aim_at(*(tree.args.get("tables") or [tree.this]))
        optional = written if tree.args.get("exists") else ()
        return self._build(
            tree, written=written, looked_up=optional, kept=optional, changes_names=True
        )

    def _read_copy(self, tree: Any) -> Effect:
        files = self._paths(tree.args.get("files") or ())
        if not tree.args.get("kind"):
            return self._build(tree, files_written=files)
        self._files.update(dict.fromkeys(files))
        written = self._aim_at(tree.this)
        return self._build(tree, written=written, inserted=written)

    def _build(self, tree: Any, **found: Any) -> Effect:
        exp = self._exp
        targets = () if self._reads_targets else {*map(id, self._targets)}
        writers = exp.Insert, exp.Update, exp.Delete, exp.Merge
        # A column's REFERENCES to a table does not read it.
        for node in tree.walk(prune=lambda one: isinstance(one, exp.Reference)):
            if isinstance(node, exp.Table):
                if id(node) not in targets:
                    self._read_table(node)
            elif isinstance(node, exp.Command) or self._runs_text(node):
                self._is_unclear = True
            elif isinstance(node, writers) and node is not tree:
                # in a WITH; those in a MERGE write to its table
                self._is_unclear |= not node.find_ancestor(exp.When)
        self._read_lists(tree)
        return Effect(
            read=tuple(self._read),
            lists_tables=self._lists_tables,
            asked=tuple(self._asked),
            files_read=tuple(self._files),
            is_unclear=self._is_unclear,
            **found,
        )

    def _read_lists(self, tree: Any) -> None:
        """What a query learns of the tables' columns, where it reads lists of tables or of columns."""
        if not self._lists:
            return
        exp = self._exp
        columns = {one.name.lower() for one in tree.find_all(exp.Column)}
        stars = [one for one in tree.find_all(exp.Star) if not isinstance(one.parent, exp.Count)]
        tells = bool(stars or columns & _TELLS_COLUMNS) or any(
            one[-1] in _COLUMN_LISTS | _STANDARD_COLUMN_LISTS for one in self._lists
        )
        names = self._find_asked(tree) if tells else None
        self._lists_tables |= names is None
        if tells:
            self._asked.update(dict.fromkeys(names or (WHOLE,)))

    def _find_asked(self, tree: Any) -> list[str] | None:
        """The names of the tables that a query of one list asks for; None where they are not known."""
        exp = self._exp
        selects = [*tree.find_all(exp.Select)]
        where = selects[0].args.get("where") if len(selects) == len(self._lists) == 1 else None
        if where is None or not {*self._read} <= {*self._lists}:
            return None
        for one in where.this.flatten() if isinstance(where.this, exp.And) else [where.this]:
            if isinstance(one, exp.EQ | exp.In) and isinstance(one.this, exp.Column):
                given = [one.expression] if isinstance(one, exp.EQ) else one.expressions
                is_known = given and all(value.is_string for value in given)
                if is_known and one.this.name.lower() in _NAMES_TABLE:
                    return [value.name.lower() for value in given]
        return None

    def _runs_text(self, node: Any) -> bool:
        return isinstance(node, self._exp.Anonymous) and bool(_RUNS_TEXT.match(str(node.this)))

    def _aim_at(self, *nodes: Any) -> tuple[Name, ...]:
        """The names of these targets."""
        names = []
        for node in nodes:
            # A list of columns may be around the table.
            while type(node).__name__ in ("Schema", "Subquery", "UserDefinedFunction"):
                node = node.this
            self._targets.append(node)
            name = self._name(node) if isinstance(node, self._exp.Table) else ()
            if name:
                names.append(name)
            else:
                self._is_unclear = True
        return tuple(names)

    def _name(self, table: Any) -> Name:
        parts = [one for one in table.parts if isinstance(one, self._exp.Identifier)]
        if len(parts) != len(table.parts):
            return ()
        return tuple(one.name.lower() for one in parts)

    def _read_table(self, table: Any) -> None:
        name = self._name(table)
        if not name:
            self._read_function(table.this)
        else:
            self._read[name] = None
            if _is_list(name):
                self._lists.append(name)
            if len(name) == 1 and {".", "/"} & {*table.name}:
                self._files[table.name] = None  # left out later if there is such a table

    def _read_function(self, node: Any) -> None:
        """A function in the place of a table: it may read files, or anything."""
        exp = self._exp
        called = str(node.this) if isinstance(node, exp.Anonymous) else node.sql_name()
        if called.lower() in _OF_TABLE:
            first: Any = node.expressions[0] if node.expressions else None
            if getattr(first, "is_string", False):
                self._read[tuple(first.name.lower().split("."))] = None
            else:
                self._asked[WHOLE] = None
        elif _is_list((called.lower(),)):
            self._lists.append((called.lower(),))
        is_csv = isinstance(node, exp.ReadCSV)
        if is_csv or called.upper() == "READ_PARQUET" or _FILE_READERS.match(called):
            given = [node.this] if is_csv else node.expressions[:1]
            if given and isinstance(given[0], exp.Array):
                given = given[0].expressions
            self._files.update(dict.fromkeys(self._paths(given)))
        elif isinstance(node, exp.Anonymous) and not _HARMLESS.match(called):
            self._is_unclear = True

    def _paths(self, given: Iterable[Any]) -> tuple[str, ...]:
        """The literal paths. A parameter is skipped; any other expression is unclear."""
        exp = self._exp
        paths = []
        for one in given:
            if getattr(one, "is_string", False):
                paths.append(one.name)
            elif not isinstance(one, exp.Placeholder | exp.Parameter | exp.Table):
                self._is_unclear = True
        return tuple(paths)


def _is_list(name: Name) -> bool:
    """Whether it has a row for each table, or for each column."""
    if len(name) > 1 and name[-2] == "information_schema":
        return name[-1] in _STANDARD_LISTS | _STANDARD_COLUMN_LISTS
    return name[-1] in _LISTS | _COLUMN_LISTS
