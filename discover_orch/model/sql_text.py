"""The text of a `.sql` file → its statements, with the parameters in them, and what each means. Pure.

One reader serves SQLite, PostgreSQL and DuckDB, since a tool is found before its database is known. What only one of
them has, such as dollar quotes and strings with `E`, counts where it ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from discover_orch.model.errors import Problem

_IS_PARAMETER = r"""(?<![\w'"`:\]]):[^\W\d]\w*"""
#: What is not plain text. PostgreSQL nests comments; two levels are read.
_TOKEN = re.compile(
    rf"""
    (?P<comment>--[^\n]*
      | /\*(?:[^/*]|/(?!\*)|\*(?!/)|/\*(?:[^/*]|/(?!\*)|\*(?!/))*+\*/)*+\*/
      | /\*.*?\*/)
  | (?P<quoted>(?<!\w)[eE]'(?:[^'\\]|\\.|'')*+' | (?<!\w)(?:[xXbBnN]|[uU]&)?'(?:[^']|'')*+' | '(?:[^']|'')*+'
      | "(?:[^"]|"")*+" | `(?:[^`]|``)*+` | (?<![\w$])(\$(?:[^\W\d]\w*)?\$).*?\3)
  | (?P<open>['"`]|/\*)
  | (?P<parameter>{_IS_PARAMETER})
  | (?P<end>;)
    """,
    re.S | re.X,
)
#: Words that no database takes as a name without quotes, so that their case shows nowhere.
_KEYWORDS = frozenset((
    "all", "and", "as", "asc", "between", "by", "case", "cast", "check", "create", "cross", "delete", "desc",
    "distinct", "drop", "else", "end", "exists", "foreign", "from", "full", "group", "having", "in", "inner",
    "insert", "into", "is", "join", "left", "like", "limit", "not", "null", "offset", "on", "or", "order",
    "outer", "primary", "references", "right", "select", "table", "then", "union", "unique", "update", "using",
    "when", "where", "with",
))  # fmt: skip
#: What counts of plain text. The space within an operator would make another one.
_WORDS = re.compile(r"[\w$.]+|[-+*/<>=~!@#%^&|?:]+|\S")
#: The semicolons in the body of a trigger or function are part of it.
_HAS_BODY = re.compile(
    r"CREATE\s+(?:\w+\s+){0,3}(?:TRIGGER|FUNCTION|PROCEDURE)\b.*\bBEGIN\b", re.I | re.S
)
_END_OF_BODY = re.compile(r";\s*END\s*\Z", re.I)
_ENDS = re.compile(r"(BEGIN|START|COMMIT|END|ROLLBACK|ABORT)\b(?!\s+(?:\w+\s+)?TO\b)", re.I)
#: Statements that orch cannot run: what they are, and how to fix it.
_MISUSES = (
    (
        re.compile(r"[^\\]*(\\)"),
        "a backslash begins a command of psql, which is not SQL",
        "remove the line, or do the same in SQL or in a Python tool",
    ),
    (
        re.compile(r"(\.\w+)"),
        "{} is a command of a database's shell, not SQL",
        "remove the line",
    ),
    (
        _ENDS,
        "{} is not for a tool: orch begins and ends its transaction",
        'remove the statement, or write -- ORCH: {"transaction": "none"}',
    ),
    (
        re.compile(r"COPY\b.*\b(FROM\s+STDIN|TO\s+STDOUT)\b", re.I | re.S),
        "COPY {} has no data here",
        "use INSERT, a file that the database can read, or a Python tool with cursor.copy()",
    ),
)
_MAKES = re.compile(r"CREATE\s+(?:\w+\s+){0,3}(VIEW|TRIGGER|FUNCTION|PROCEDURE|MACRO)\b", re.I)
_CHECK = re.compile(r"(?:--|/\*)\s*(CHECK|WARN)\s*:\s*(\w[\w \t]*?)\s*(?:\*/)?\Z")
#: What is meant as such a comment, with the mistakes that it may have.
_CHECK_TAG = re.compile(
    r"(?:--|/\*)\s*((?i:checks?|warn(?:s|ings?)?)\s*:|(?:CHECK|WARN)\s+\w)[^\n]*"
)
_GIVES_ROWS = re.compile(r"(?:SELECT|WITH|VALUES|FROM)\b", re.I)


class Token(NamedTuple):
    """`kind` is a group of the pattern, or "plain"; `line` where it begins."""

    kind: str
    text: str
    line: int


class Statement(NamedTuple):
    """One statement, and the comments directly before it. `line` is that of its first word."""

    line: int
    tokens: tuple[Token, ...]
    comments: tuple[Token, ...] = ()

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names, each once."""
        found = (one.text[1:] for one in self.tokens if one.kind == "parameter")
        return tuple(dict.fromkeys(found))

    @property
    def check(self) -> str:
        """The name of the check that it is, as the comment `-- CHECK: NAME` before it says, or `-- WARN: NAME`; ""."""
        for one in self.comments:
            if found := _CHECK.match(one.text):
                words = "_".join(found[2].split())
                prefix = f"{found[1].lower()}_"
                return words if words.startswith(prefix) else prefix + words
        return ""

    @property
    def bare(self) -> str:
        """Its text without comments and with empty strings."""
        return _bare(self.tokens)

    @property
    def meaning(self) -> list[str]:
        """What counts of it: no comments, no layout, and keywords in any case."""
        found: list[str] = []
        for one in self.tokens:
            if one.kind == "plain":
                words = _WORDS.findall(one.text)
                found += [low if (low := word.lower()) in _KEYWORDS else word for word in words]
            elif one.kind != "comment":
                found.append(one.text)
        return found

    def write(self, place: str, percent: str = "%") -> str:
        """Its text with parameters in the form `:{}`, behind as many empty lines as stand before it in the file: a
        database counts them in its errors."""
        return "\n" * (self.line - 1) + "".join(
            place.format(one.text[1:])
            if one.kind == "parameter"
            else one.text.replace("%", percent)
            for one in self.tokens
        )


class UnreadableSql(ValueError):
    """The text cannot be read, or orch cannot run a statement in it."""

    def __init__(self, line: int, message: str, hint: str) -> None:
        super().__init__(message)
        self.line, self.hint = line, hint

    def problem(self, path: str) -> Problem:
        return Problem(code="sql", message=str(self), hint=self.hint, path=path, line=self.line)


def split_statements(text: str) -> list[Statement]:
    """The statements, without the semicolons that end them. Raises UnreadableSql for a quote without an end."""
    found: list[Statement] = []
    pending: list[Token] = []
    comments: list[Token] = []
    for token in _read_tokens(text):
        if token.kind == "open":
            what = "comment" if token.text == "/*" else "string or name"
            message = f"the {what} that begins with {token.text} does not end"
            raise UnreadableSql(token.line, message, "close it")
        if token.kind == "end" and (not token.text or not _is_in_body(pending)):
            if pending:
                found.append(Statement(pending[0].line, tuple(pending), tuple(comments)))
            pending, comments = [], []
        elif pending:
            pending.append(token)
        elif token.kind == "comment":
            comments.append(token)
        elif started := token.text.lstrip():
            blank = token.text.removesuffix(started)
            pending.append(Token(token.kind, started, token.line + blank.count("\n")))
    return found


def read_first_comments(text: str) -> Iterator[Token]:
    """Those before the first statement, in any text."""
    for token in _read_tokens(text):
        if token.kind == "comment":
            yield token
        elif token.text.strip():
            return


def find_lost_check(text: str, statements: Iterable[Statement]) -> UnreadableSql | None:
    """A comment that looks like the one of a check and is none, so that the check would not run; or a second check of
    one name."""
    names: dict[str, int] = {}
    named: set[int] = set()
    for one in statements:
        if one.check in names:
            message = f"{one.check} is the name of the check in line {names[one.check]}, too"
            return UnreadableSql(one.line, message, "give each check a name of its own")
        if one.check:
            names[one.check] = one.line
            named.add(next(comment.line for comment in one.comments if _CHECK.match(comment.text)))
    for token in _read_tokens(text):
        found = _CHECK_TAG.match(token.text) if token.kind == "comment" else None
        if found and token.line not in named:
            word = "WARN" if found[1][:1] in "wW" else "CHECK"
            message = f'"{found[0][:40]}" names no check'
            hint = (
                f"write -- {word}: NAME (letters, digits, _ and spaces) in a line before a SELECT"
            )
            return UnreadableSql(token.line, message, hint)
    return None


def find_misuse(statement: Statement, *, commits_by_itself: bool) -> UnreadableSql | None:
    """Why orch cannot run this statement."""
    bare = statement.bare
    for pattern, message, hint in _MISUSES:
        found = pattern.match(bare)
        if found and not (commits_by_itself and pattern is _ENDS):
            line = statement.line + bare[: found.start(1)].count("\n")
            return UnreadableSql(line, message.format(found[1]), hint)
    if statement.check and not _GIVES_ROWS.match(bare):
        message = f"{statement.check} is no SELECT: a check selects the rows that violate it"
        hint = "write a SELECT, or remove the comment before the statement"
        return UnreadableSql(statement.line, message, hint)
    if statement.parameters and (found := _MAKES.match(bare)):
        first = next(one for one in statement.tokens if one.kind == "parameter")
        message = f"CREATE {found[1].upper()} contains the parameter {first.text}, and no database binds one there"
        hint = "make a table, or have it read the value from a table"
        return UnreadableSql(first.line, message, hint)
    return None


def _bare(tokens: tuple[Token, ...] | list[Token]) -> str:
    shown = {"comment": " ", "quoted": "''"}
    return "".join(
        shown[one.kind] + "\n" * one.text.count("\n") if one.kind in shown else one.text
        for one in tokens
    )


def _is_in_body(tokens: list[Token]) -> bool:
    """Whether a semicolon after these is one of a body that began and has not ended."""
    if not tokens or tokens[0].text[:6].upper() != "CREATE":
        return False
    bare = _bare(tokens)
    return bool(_HAS_BODY.match(bare)) and not _END_OF_BODY.search(bare)


def _read_tokens(text: str) -> Iterator[Token]:
    """All of the text; at last an "end" without a text."""
    line, done = 1, 0
    for found in _TOKEN.finditer(text):
        if plain := text[done : found.start()]:
            yield Token("plain", plain, line)
            line += plain.count("\n")
        yield Token(found.lastgroup or "", found[0], line)
        line += found[0].count("\n")
        done = found.end()
    if done < len(text):
        yield Token("plain", text[done:], line)
    yield Token("end", "", line)
