"""What the syntax tree of a statement says about tables. Imports sqlglot only when there is a tree to read."""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec.structs import replace

from discover_orch.databases.effect import BLANK, UNCLEAR, Effect, Name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_LOWER = {ord(one): one.lower() for one in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
PART = re.compile(r'"[^"]*"|[^.]+')
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


def read_tree(tree: Any, dialect: str) -> Effect:
    """The effect of one statement."""
    return _Reader(dialect).read(tree)


def unquote(part: str, dialect: str) -> str:
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
        self._looked_up: dict[Name, None] = {}
        self._lists_tables = False
        self._is_unclear = False

    def read(self, tree: Any) -> Effect:
        exp = self._exp
        match tree:
            case exp.Insert():
                conflict = tree.args.get("conflict")
                also_read = conflict is not None and self._reads_rows(conflict)
                table = _find_table(tree.this)
                return self._effect(
                    tree, written=[table], also_read=also_read, is_insert=_only_inserts(tree)
                )
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
        written = (old, *((*old[:-1], one[-1]) for one in new))
        return replace(effect, written=written, looked_up=(old,) if tree.args.get("exists") else ())

    def _read_create(self, tree: Any) -> Effect:
        kind = (tree.args.get("kind") or "").upper()
        if kind not in ("TABLE", "VIEW"):
            # An index reads nothing that counts; a trigger or a function acts when it is called.
            table = tree.this.args.get("table") if kind == "INDEX" and tree.this else None
            return Effect(changes_names=True, kept=self._names([table]) if table else ())
        exp, target = self._exp, _find_table(tree.this)
        properties = tree.args.get("properties")
        if properties is not None and properties.find(exp.TemporaryProperty):
            return self._effect(tree, temporary_created=[target], changes_names=True)
        effect = self._effect(tree, created=[target], changes_names=True)
        has_rows = tree.expression is not None or tree.args.get("clone")
        is_empty = kind == "TABLE" and not has_rows and not tree.args.get("replace")
        return replace(effect, if_not_exists=bool(tree.args.get("exists")), creates_empty=is_empty)

    def _read_drop(self, tree: Any) -> Effect:
        kind = (tree.args.get("kind") or "").upper()
        if kind not in ("TABLE", "VIEW"):
            return UNCLEAR if kind == "SCHEMA" else Effect(changes_names=True)
        targets = tree.args.get("tables") or [tree.this]
        effect = self._effect(tree, written=targets, changes_names=True)
        names = effect.written if tree.args.get("exists") else ()
        return replace(effect, looked_up=names, kept=names)

    def _read_copy(self, tree: Any) -> Effect:
        given = tree.args.get("files") or ()
        # With PostgreSQL these are files of the server.
        files = self._paths(given) if self._dialect == "duckdb" else ()
        if tree.args.get("kind"):
            effect = self._effect(tree, written=[_find_table(tree.this)], is_insert=True)
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
        is_insert: bool = False,
    ) -> Effect:
        """All other tables in the tree are read; with `also_read`, the written ones too."""
        exp = self._exp
        written, created, temporary_created = [*written], [*created], [*temporary_created]
        targets = {id(one) for one in (*written, *created, *temporary_created)}
        if also_read:
            targets.clear()
        read: dict[Name, None] = {}
        inserted = written if is_insert else []
        changed = [] if is_insert else written
        # Locking a table, or a column's REFERENCES to it, does not read it.
        ignored = exp.Lock, exp.Reference
        writers = exp.Insert, exp.Update, exp.Delete, exp.Merge
        for node in tree.walk(prune=lambda one: isinstance(one, ignored)):
            if isinstance(node, exp.Table):
                if id(node) not in targets:
                    self._read_table(node, read)
            elif isinstance(node, exp.Command) or self._runs_text(node):
                self._is_unclear = True
            elif isinstance(node, exp.Anonymous):
                self._read_lookup(node)
            elif (
                isinstance(node, writers) and node is not tree and not node.find_ancestor(exp.When)
            ):
                # in a WITH; those in a MERGE write to its table
                (inserted if _only_inserts(node) else changed).append(_find_table(node.this))
        changed_names = self._names(changed)
        return Effect(
            read=tuple(read),
            written=(*changed_names, *self._names(inserted)),
            inserted=tuple(one for one in self._names(inserted) if one not in changed_names),
            looked_up=tuple(self._looked_up),
            lists_tables=self._lists_tables,
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
            if is_list_of_tables(name):
                self._read_list(table)
            if self._dialect == "duckdb" and len(name) == 1 and {".", "/"} & {*table.name}:
                self._files[table.name] = None  # `catalog` drops it if there is such a table

    def _read_list(self, table: Any) -> None:
        """The list of tables is read, or asked for one name."""
        name = find_asked_name(table, self._exp)
        if name and name[-1] != BLANK:
            self._looked_up[name] = None
        else:
            self._lists_tables = True

    def _read_lookup(self, node: Any) -> None:
        """`to_regclass('s.t')` gives NULL where there is no such table."""
        given = node.expressions
        if str(node.this).lower() == "to_regclass":
            if given and given[0].is_string and given[0].name != BLANK:
                parts = PART.findall(given[0].name)
                self._looked_up[tuple(unquote(part, self._dialect) for part in parts)] = None
            else:
                self._lists_tables = True

    def _read_function(self, node: Any) -> None:
        """A function in the place of a table: it may read files, or anything."""
        exp = self._exp
        called = str(node.this) if isinstance(node, exp.Anonymous) else node.sql_name()
        if is_list_of_tables((called.lower(),)):
            self._read_list(node.parent)
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


def _only_inserts(node: Any) -> bool:
    """Whether this writer inserts new rows and neither replaces nor skips any."""
    more = ("conflict", "overwrite", "alternative", "ignore")
    return type(node).__name__ == "Insert" and not any(node.args.get(one) for one in more)


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


# Queries for the list of tables: of the whole list, or of one name in it, as libraries ask whether a table is there.

#: Tables and functions of PostgreSQL and DuckDB with a row for each table; bare, or in one of these schemas.
_LISTS = frozenset(
    {"pg_class", "pg_tables", "pg_views", "pg_matviews", "sqlite_master", "sqlite_schema"}
    | {"duckdb_tables", "duckdb_views", "duckdb_columns", "pragma_show_tables"}
)
_STANDARD = "information_schema"
_STANDARD_LISTS = frozenset({"tables", "views", "columns"})
#: The columns of these tables that hold the name and the schema of a table.
_NAMES = frozenset(
    {
        "relname",
        "tablename",
        "viewname",
        "matviewname",
        "table_name",
        "view_name",
        "tbl_name",
        "name",
    }
)
_SCHEMAS = frozenset({"nspname", "schemaname", "table_schema", "schema_name"})


def is_list_of_tables(name: Name) -> bool:
    if len(name) > 1 and name[-2] == _STANDARD:
        return name[-1] in _STANDARD_LISTS
    return name[-1] in _LISTS


def find_asked_name(table: Any, exp: Any) -> Name:
    """The one name that the query around a list of tables asks for; () where it may read more."""
    query = table.find_ancestor(exp.Select)
    where = query.args.get("where") if query is not None else None
    if where is None:
        return ()
    name: Name = ()
    schema: Name = ()
    for column, text in _find_equalities(where.this, exp):
        if column in _NAMES:
            name = (text,)
        elif column in _SCHEMAS:
            schema = (text,)
    return (*schema, *name) if name else ()


def _find_equalities(condition: Any, exp: Any) -> Iterator[tuple[str, str]]:
    """The (column, text) pairs of which each must be equal for a row to be found."""
    waiting = [condition]
    while waiting:
        one = waiting.pop()
        if isinstance(one, exp.Paren):
            waiting.append(one.this)
        elif isinstance(one, exp.And):
            waiting += [one.this, one.expression]
        elif isinstance(one, exp.EQ):
            column, value = one.this, one.expression
            if isinstance(value, exp.Cast):
                value = value.this
            if isinstance(column, exp.Cast):
                column = column.this
            if isinstance(column, exp.Column) and value.is_string:
                yield column.name.lower(), value.name
