"""What a DuckDB statement does to tables, as DuckDB plans it.

The logical plan, before the optimizer, names each table that a statement reads, through common table expressions,
views, macros, and what else a parser would have to understand. It does not name into which table a statement writes:
that stands in the text, behind the keyword. What is made and dropped is found in the catalog. Asks nothing.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator

from msgspec import Struct

from discover_orch.databases.duckdb_catalog import Catalog, Table, find_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SKIPPED = re.compile(
    r"(?P<comment>--[^\n]*|/\*.*?\*/)|(?P<name>\"(?:[^\"]|\"\")*\")"
    r"|(?<!\w)[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|(?<![\w$])(?P<mark>\$\w*\$).*?(?P=mark)",
    re.S,
)
_NAME = r'((?:"(?:[^"]|"")+"|[\w$]+)(?:\s*\.\s*(?:"(?:[^"]|"")+"|[\w$]+)){0,2})'
_TARGETS = {
    "INSERT": re.compile(rf"\binsert\s+(?:or\s+\w+\s+)?into\s+{_NAME}", re.I),
    "UPDATE": re.compile(rf"\bupdate\s+(?!set\b){_NAME}", re.I),
    "DELETE": re.compile(rf"\b(?:delete\s+from|truncate(?:\s+table)?)\s+{_NAME}", re.I),
    "MERGE_INTO": re.compile(rf"\bmerge\s+into\s+{_NAME}", re.I),
    "COPY": re.compile(rf"\bcopy\s+{_NAME}\s*(?:\([^()]*\)\s*)?from\b", re.I),
}
_DEFINES = re.compile(
    r"\s*(?:create\s+(?P<replaces>or\s+replace\s+)?(?:(?:unique|persistent|recursive|unlogged)\s+)*|drop\s+|alter\s+)"
    rf"(?P<kind>table|view|sequence|type|index|macro|function)(?:\s+table)?\s+(?:if\s+(?:not\s+)?exists\s+)?{_NAME}",
    re.I,
)
_VIEW = re.compile(
    rf"\s*create\s+(?:or\s+replace\s+)?(?:temp(?:orary)?\s+)?view\s+(?:if\s+not\s+exists\s+)?{_NAME}"
    r"\s*(?:\([^()]*\)\s*)?as\b",
    re.I,
)
_HAS_ROWS = re.compile(r"^\s*create\b(?!.*\b(?:macro|function)\b).*\btable\b.*\bas\b", re.I | re.S)
_PLANNED_TOO = rf"^\s*set\s+variable\b|^\s*create\s+(?:unique\s+)?index\b|{_HAS_ROWS.pattern}"
_DESCRIBES = re.compile(
    r"\s*(?:show|desc|describe)\s+(?!(?:all\s+)?tables\b|databases\b|schemas\b|variables\b)(?:table\s+)?(?=\S)",
    re.I,
)
_QUERY = re.compile(r"\s*(?:select|with|from|values|table|pivot|unpivot|\()", re.I)
_EXPLAINS = re.compile(r"\s*explain\s*(?:\([^()]*\)|analy[sz]e\b)?", re.I)
#: An INSERT without these words reads nothing.
_READS = re.compile(r"\b(?:select|from|table|conflict|or|returning|with|pivot)\b", re.I)
_MISSING = re.compile(r'(?:Table|View) with name "?(.+?)"? does not exist')
#: Leaves of a plan that read no table, or those of other databases and files.
_QUIET = re.compile(
    r"CHUNK_GET|COLUMN_DATA|EMPTY_RESULT|.*_(?:SCAN|GET)$|READ_|PARQUET_|RANGE$|GENERATE_|UNNEST|REPEAT|GLOB$|"
    r"SNIFF_CSV|PRAGMA_|DUCKDB_|ICU_|ST_READ|(?:FORCE_)?CHECKPOINT|TEST_|SUMMARY"
)
#: Functions with a row for each table, and with one for each column.
_LISTS = re.compile(r"DUCKDB_(?:TABLES|VIEWS|(COLUMNS|CONSTRAINTS|INDEXES))$")
#: In a question for the list of tables: all columns, or one that says what columns the tables have.
_COLUMNS = re.compile(
    r"(?<!count\()\*|^\s*from\b|\b(?:sql|column_count|relnatts|view_definition|definition)\b", re.I
)
_ASKED = re.compile(
    r"\b(?:table_name|view_name|relname|tablename|tbl_name) (?:= (?:CAST\()?('(?:[^']|'')*')|IN \((.*?)\)\)?$)"
)
#: The columns of the view; `name` is that of a table or an index.
_SQLITE_MASTER = ["type", "name", "tbl_name", "rootpage", "sql"]
_STRING = re.compile(r"'((?:[^']|'')*)'")
_WRITES = ("INSERT", "UPDATE", "DELETE", "MERGE_INTO")
_PLANNED = (*_TARGETS, "SELECT", "CALL", "PREPARE", "EXECUTE", "EXPLAIN")
#: Kinds of statements after which names mean what they meant, and others that write no rows by themselves.
KEEPS_NAMES = (*_TARGETS, "SELECT", "EXPLAIN", "EXPORT", "VACUUM", "ANALYZE")
_DEFINITIONS = ("CREATE", "DROP", "ALTER", "ATTACH", "DETACH", "LOAD", "TRANSACTION")
_WRITES_NONE = (*_PLANNED, *_DEFINITIONS, "SET", "VARIABLE_SET", "EXPORT", "VACUUM", "ANALYZE")


class Effect(Struct, frozen=True, kw_only=True):
    """What one statement does.

    - With `inserts` it only inserts rows into what it has `written`. `altered` it drops or alters, `filled` are of
      those `created` that have rows. `indexed` get an index, `found` it looks for, and `missed` are not there.
    - `asked` are bare names of tables, in whatever schema. With `lists` it reads the list of tables, with
      `lists_columns` their columns too.
    - `gap` says why it may have read more; with `is_unclear` it may also have written anything.
    """

    kind: str
    read: frozenset[Table] = frozenset()
    written: frozenset[Table] = frozenset()
    inserts: bool = False
    created: frozenset[Table] = frozenset()
    filled: frozenset[Table] = frozenset()
    altered: frozenset[Table] = frozenset()
    indexed: frozenset[Table] = frozenset()
    found: frozenset[Table] = frozenset()
    missed: frozenset[Table] = frozenset()
    asked: frozenset[str] = frozenset()
    lists: bool = False
    lists_columns: bool = False
    commits: bool = False
    gap: str = ""
    is_unclear: bool = False

    @property
    def writes(self) -> bool:
        return bool(self.written or self.created or self.altered or self.commits)


class Plan:
    """The part of a plan that counts.

    `scans` are tables, `parts` for each of its nodes what is read below it, and `whole` that of all. `asked` are the
    tables that a question for a list of tables names; None where it names none.
    """

    def __init__(self, document: str) -> None:
        self.scans: Counter[str] = Counter()
        self.nodes: Counter[str] = Counter()
        self.leaves: set[str] = set()
        self.parts: set[tuple[str, ...]] = set()
        self.asked: set[str] | None = set()
        self.deletes_all = False
        found = [one for node in json.loads(document) for one in self._read(node, [])]
        self.whole = tuple(sorted(found))

    def _read(self, node: Any, above: list[str]) -> list[str]:
        name, children, extra = node["name"].strip(), node["children"], node["extra_info"]
        self.nodes[name] += 1
        if name == "FILTER":
            shown = extra.get("Expressions", "")
            above = [*above, *([shown] if isinstance(shown, str) else shown)]
        if extra.get("Expressions") == _SQLITE_MASTER:
            above = [one.replace("(name ", "(tbl_name ") for one in above]
        found = [one for child in children for one in self._read(child, above)]
        self.deletes_all |= name == "DELETE" and not children[0]["children"]
        if not children:
            table = extra.get("Table") if name.endswith("_SCAN") else None
            if table is not None:
                self.scans[table] += 1
            else:
                self.leaves.add(name)
            if _LISTS.match(name):
                asked = _find_asked(above)
                if name == "DUCKDB_INDEXES":
                    asked |= {f"index {one}" for one in asked}
                self.asked = self.asked | asked if self.asked is not None and asked else None
            if name not in ("DUMMY_SCAN", "EXPRESSION_GET", "DELIM_GET"):
                found = [table or name]
        self.parts.add(tuple(sorted(found)))
        return found

    def read_lists(self, bare: str) -> dict[str, Any]:
        """The fields of an effect that say what a statement learns of the list of tables."""
        lists = [found for name in self.leaves if (found := _LISTS.match(name))]
        if not lists:
            return {}
        tells = bool(_COLUMNS.search(bare)) or any(found[1] for found in lists)
        has_join = any("JOIN" in name or "PRODUCT" in name for name in self.nodes)
        is_known = self.asked and not has_join
        asked = frozenset(self.asked or ()) if is_known else frozenset()
        return {"asked": asked, "lists": not is_known, "lists_columns": tells}


def _find_asked(conditions: list[str]) -> set[str]:
    """The names of the tables that the conditions around a list let through; none where that is not known."""
    if any("SUBQUERY" in one for one in conditions):  # it may be one of another part
        return set()
    found = [found for one in conditions if " OR " not in one for found in _ASKED.finditer(one)]
    given = [name for one in found for name in _STRING.findall(one[1] or one[2])]
    return {name.replace("''", "'").lower() for name in given}


class Statement:
    """One statement: its kind, as DuckDB says, and its text. `clean` has no comments, `bare` no strings either, and
    `planned` is what DuckDB can explain in its place; "" for nothing. `runs`: it is not only explained or prepared."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind, self.text = kind, text
        self.clean = _SKIPPED.sub(lambda one: " " if one["comment"] else one[0], text)
        self.bare = _SKIPPED.sub(lambda one: one["name"] or (" " if one["comment"] else "''"), text)
        if kind == "MULTI":  # a PIVOT somewhere in it
            kinds = [one for one, pattern in _TARGETS.items() if pattern.search(self.bare)]
            self.kind = kind = "CREATE" if self.has(r"^\s*create\b") else (*kinds, "SELECT")[0]
        self.runs = kind not in ("EXPLAIN", "PREPARE")
        self.planned = text if kind in _PLANNED else ""
        if kind == "SELECT" and _DESCRIBES.match(self.bare):
            rest = _DESCRIBES.sub("", self.clean, count=1)
            self.planned = rest if _QUERY.match(rest) else f"FROM {rest}"
        elif kind == "EXPLAIN":
            self.planned = _EXPLAINS.sub("", self.clean, count=1)
            self.runs = bool(re.match(r"\s*explain\W+analy", self.bare, re.I))
        elif kind == "CREATE" and (found := _VIEW.match(self.clean)):
            self.planned = self.clean[found.end() :]
        elif self.has(_PLANNED_TOO):
            self.planned = text
        values = re.sub(r"^\s*insert\s+or\b", "", self.bare, flags=re.I)
        self.is_insert_of_values = kind == "INSERT" and not _READS.search(values)

    def has(self, pattern: str) -> bool:
        return re.search(pattern, self.bare, re.I | re.S) is not None


def read_effect(
    one: Statement, plan: Plan | None, catalog: Catalog, uses: frozenset[Table]
) -> Effect:
    """`uses` are the views, macros and other things of the catalog that it uses."""
    found: dict[str, Any] = {"kind": one.kind, **_read_text(one, catalog)}
    target = next(iter(found.get("written", ())), None)
    read = {*uses} - found.get("created", frozenset())
    if target is not None and one.kind == "INSERT" and one.has(r"\bdo\s+update\b"):
        read.add(target)
    if one.has(r"\bpragma_?\s*(?:table_info|storage_info|show)\b"):
        read |= catalog.find_tables(find_words(one.clean))
    if plan is not None:
        scans = Counter(catalog.find(name) for name in plan.scans.elements())
        if target is not None and not _reads_target(one, plan):
            scans[target] -= 1
        scanned = frozenset(table for table, n in scans.items() if n > 0)
        if one.kind == "CREATE" and "CREATE_INDEX" in plan.nodes:
            found["indexed"] = scanned
        else:
            read |= scanned
        found |= plan.read_lists(one.bare)
        writes = sum(plan.nodes[name] for name in _WRITES)
        is_unknown = not all(map(_QUIET.match, plan.leaves)) or writes > (target is not None)
        found["is_unclear"] = one.runs and is_unknown
    return Effect(**found, read=frozenset(read))


def _reads_target(one: Statement, plan: Plan) -> bool:
    """Whether the target is scanned for another reason than that it is one."""
    if one.kind == "INSERT":
        return "MERGE_INTO" not in plan.nodes or one.has(r"\bdo\s+update\b")
    return one.kind != "DELETE" or not plan.deletes_all or one.has(r"\breturning\b")


def _read_text(one: Statement, catalog: Catalog) -> dict[str, Any]:
    """The fields of an effect that the text tells."""
    if not one.runs:
        return {}
    if one.kind in _TARGETS and (found := {*_TARGETS[one.kind].findall(one.bare)}):
        if len(found) > 1:
            return {"is_unclear": True}
        target = frozenset([catalog.find(found.pop())])
        adds = not one.has(r"\bon\s+conflict\b|\binsert\s+or\b")
        return {"written": target, "inserts": adds and one.kind in ("INSERT", "COPY")}
    if one.kind in ("CREATE", "DROP", "ALTER") and (defines := _DEFINES.match(one.bare)):
        return _read_definition(one, defines, catalog)
    if one.kind == "EXPORT":
        return {"lists": True, "lists_columns": True}
    if one.kind == "TRANSACTION":
        return {"commits": one.has(r"^\s*(?:commit|end)\b")}
    if one.kind == "PRAGMA" and one.has(r"\bshow_tables"):
        return {"lists": True, "lists_columns": one.has("expanded")}
    is_known = one.kind in _WRITES_NONE or one.has(
        r"^\s*pragma\s+(\w+\s*(=.*)?$|\w+_info\b|show\b)"
    )
    return {} if is_known else {"is_unclear": True}


def _read_definition(one: Statement, found: re.Match[str], catalog: Catalog) -> dict[str, Any]:
    kind = found["kind"].lower().replace("function", "macro")
    name = found[found.lastindex or 0]
    table = frozenset([catalog.find(name, "" if kind in ("table", "view") else f"{kind} ")])
    if one.kind != "CREATE":
        return {"altered": table}
    # What a macro reads is planned where it is called.
    looks = catalog.find_tables(find_words(one.clean)) if kind == "macro" else frozenset()
    has_rows = found["replaces"] or kind != "table" or _HAS_ROWS.match(one.bare)
    return {"created": table, "filled": table if has_rows else frozenset(), "found": looks}


def read_failure(one: Statement, error: str, catalog: Catalog) -> Effect:
    """What a statement does that DuckDB does not explain."""
    missed = {catalog.find(name) for name in _MISSING.findall(error)}
    return Effect(
        kind=one.kind,
        **_read_text(one, catalog),
        read=read_words(one, catalog).read,
        missed=frozenset(missed - catalog.things.keys()),
        gap="sent DuckDB a statement that it does not explain",
    )


def read_words(one: Statement, catalog: Catalog) -> Effect:
    """What a query may read by the words of its text."""
    uses = frozenset(find_uses(one.clean, catalog, lambda _: True))
    words = find_words(" ".join([one.clean, *(catalog.things[table][1] for table in uses)]))
    return Effect(kind="SELECT", read=uses | catalog.find_tables(words))


def find_uses(text: str, catalog: Catalog, is_part: Callable[[Table], bool]) -> Iterator[Table]:
    """The views, macros, sequences and types that a text uses, and those that these use. `is_part`: what a view reads
    is read by the statement, for a word may also be the name of a column, or of a common table expression."""
    seen: set[Table] = set()
    texts = [text]
    while texts:
        for one in {*catalog.find_used(texts.pop())} - seen:
            seen.add(one)
            if one not in catalog.views or is_part(one):
                yield one
                texts.append(catalog.things[one][1])
