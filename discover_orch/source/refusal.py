"""What a parser accepts and the compiler refuses: `return` outside a function, an argument twice.

Only compiling tells whether Python takes a module, and costs as much again as parsing. So a
cheap look at the bytes and the statements first says whether the compiler could object at all:
`may_be_refused` may answer yes for a sound module, and never no for one that does not compile.
It rests on a list of the forms that are known to be harmless; every other makes it answer yes,
so that new syntax is safe.
"""

from __future__ import annotations

import ast
import re
from bisect import bisect_right

from discover_orch.source.literals import docstring_of

MAX_BLOCKS = 12  # of the 20 that Python allows within one another
MAX_LINE = 2000  # a longer one may be nested beyond what the compiler's stack takes
MAX_STATEMENT_LINES = 500

# Plain text first, as it is found ten times faster than a pattern; a pattern then makes sure.
_WORDS = (b"yield", b"await", b"async", b"global", b"nonlocal", b"__debug__")
_WHOLE_WORD = re.compile(rb"\b(?:" + b"|".join(_WORDS) + rb")\b")
_HARMLESS_LAMBDA = re.compile(rb"lambda(?:[ \t]+\w+(?:=\w+)?)?[ \t]*:")
_COOKIE = re.compile(rb"coding[:=](?![ \t]*utf-8\b)")
_KEYWORD = re.compile(rb"[(,](?=(?:\s|#[^\n]*\n)*(\w+)\s*=(?!=))")
_SPLIT_KEYWORD = re.compile(rb"\n[ \t]*=(?!=)")  # `f(a  # why` and `=1)` on the next line
_NOT_ASCII_NAME = re.compile(
    rb"[\x80-\xff]\w*\s*=(?!=)|__\w*[\x80-\xff]|[\x80-\xff]\w*__"  # equal once normalised
)
_STAR = re.compile(rb"\*(?!\*)")
_BEFORE_VALUE = (b"in", b"return", b"as", b"for")  # words after which a star is no product
_LAST_OF_SEVERAL = re.compile(rb"for[ \t]+\w+[\w, \t]*,[ \t]*\*\w+[ \t]+in\b")

_LEAVES = frozenset(
    {
        ast.AnnAssign,
        ast.Assert,
        ast.Assign,
        ast.AugAssign,
        ast.Delete,
        ast.Expr,
        ast.Import,
        ast.Pass,
        ast.Raise,
    }
)

_LOOPS = (ast.For, ast.While)
_JUMPS = frozenset({ast.Break, ast.Continue})


def may_be_refused(data: bytes, tree: ast.Module) -> bool:
    """Whether `compile` could refuse a module that parses; `tree` is that of `data`."""
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    if b"\r" in data or b"\x0c" in data or b"\\\n" in data or b":=" in data:
        return True
    for word in _WORDS:
        if word in data and _WHOLE_WORD.search(data):
            return True
    if b"lambda" in data and data.count(b"lambda") != len(_HARMLESS_LAMBDA.findall(data)):
        return True
    if _COOKIE.search(data, 0, 400) or _SPLIT_KEYWORD.search(data):
        return True
    if not data.isascii() and _NOT_ASCII_NAME.search(data):
        return True
    if len(data) > MAX_LINE and len(max(data.split(b"\n"), key=len)) > MAX_LINE:
        return True
    stars = _prefix_stars(data) if b"*" in data else []
    if any(_may_be_hidden(data, star) for star in stars):
        return True
    span = (0, 0)  # the lines between which statements may have a star
    if stars:
        span = data.count(b"\n", 0, stars[0]) + 1, data.count(b"\n", 0, stars[-1]) + 1
    starts: list[int] = []
    return _has_odd_statement(tree, starts, *span) or _may_repeat_keyword(data, starts)


def _prefix_stars(data: bytes) -> list[int]:
    """The single stars that stand before a value or a name, and not between two values."""
    found: list[int] = []
    for match in _STAR.finditer(data):
        star = match.start()
        before = data[max(0, star - 80) : star].rstrip(b" \t")
        last = before[-1:]
        if last == b"*":
            continue  # the second of `**`
        is_product = last.isalnum() or (last and last in b"_)]\"'")
        if not is_product or before.endswith(_BEFORE_VALUE):
            found.append(star)
    return found


def _may_be_hidden(data: bytes, star: int) -> bool:
    """Whether a star may be in the target of a comprehension, or in the braces of an f-string."""
    if data[:star].rstrip().endswith(b"{"):
        return True
    loop = data.rfind(b"for", 0, star)
    if loop < 0 or b" in " in data[loop:star]:
        return False
    return not _LAST_OF_SEVERAL.match(data, loop)


def _may_repeat_keyword(data: bytes, starts: list[int]) -> bool:
    """Whether some name is given twice by keyword within one statement, as in `f(a=1, a=2)`."""
    names = _KEYWORD.findall(data)
    if len(names) == len(set(names)):
        return False
    starts.sort()
    seen: set[tuple[bytes, int]] = set()
    line = 1
    position = 0
    for match in _KEYWORD.finditer(data):
        # counted to the name: a bracket may be on the line before
        line += data.count(b"\n", position, match.start(1))
        position = match.start(1)
        place = match[1], bisect_right(starts, line)
        if place in seen:
            return True
        seen.add(place)
    return False


def _has_odd_statement(
    tree: ast.Module, starts: list[int], first_star: int, last_star: int
) -> bool:
    """Goes through all statements, and fills `starts` with their lines."""
    # what is left to look at: statements, are they in a function, in a loop, how many blocks deep
    pending: list[tuple[list[ast.stmt], bool, bool, int]] = [(tree.body, False, False, 0)]
    leaves, add_start = _LEAVES, starts.append
    while pending:
        body, in_function, in_loop, depth = pending.pop()
        if depth > MAX_BLOCKS:
            return True
        for node in body:
            kind = node.__class__
            line = node.lineno
            add_start(line)
            if kind in leaves:
                if (
                    line <= last_star
                    and (node.end_lineno or last_star) >= first_star
                    and _has_bare_star(node)
                ):
                    return True
            elif kind is ast.Return:
                if not in_function or (line <= last_star and _has_bare_star(node)):
                    return True
            elif isinstance(node, ast.If):
                pending.append((node.body, in_function, in_loop, depth))
                if node.orelse:
                    pending.append((node.orelse, in_function, in_loop, depth))
            elif isinstance(node, _LOOPS):
                if line <= last_star and kind is ast.For and _has_bare_star(node):
                    return True
                pending.append((node.body, in_function, True, depth + 1))
                pending.append((node.orelse, in_function, in_loop, depth + 1))
            elif isinstance(node, ast.FunctionDef):
                if _may_repeat_argument(node.args) or getattr(node, "type_params", None):
                    return True
                pending.append((node.body, True, False, 0))
            elif kind in _JUMPS:
                if not in_loop:
                    return True
            elif isinstance(node, ast.Try):
                pending += [
                    (part, in_function, in_loop, depth + 2)
                    for part in (node.body, node.orelse, node.finalbody)
                ]
                for handler in node.handlers:
                    pending.append((handler.body, in_function, in_loop, depth + 3))
                    if handler.type is None and handler is not node.handlers[-1]:
                        return True
            elif isinstance(node, ast.With):
                if line <= last_star and _has_bare_star(node):
                    return True
                pending.append((node.body, in_function, in_loop, depth + len(node.items)))
            elif isinstance(node, ast.ClassDef):
                if getattr(node, "type_params", None):
                    return True
                pending.append((node.body, False, False, 0))
            elif not isinstance(node, ast.ImportFrom) or _is_odd_import(node, tree, body):
                return True
    return any((node.end_lineno or 0) - node.lineno > MAX_STATEMENT_LINES for node in tree.body)


def _has_bare_star(node: ast.stmt) -> bool:
    """`*a` by itself where a value or a target is expected, or two stars in one target."""
    for name in ("value", "iter"):
        if getattr(node, name, None).__class__ is ast.Starred:
            return True
    targets: list[ast.expr | None] = [*getattr(node, "targets", ()), getattr(node, "target", None)]
    if isinstance(node, ast.With):
        targets = [item.optional_vars for item in node.items]
    while targets:
        target = targets.pop()
        if target.__class__ is ast.Starred:
            return True
        if isinstance(target, (ast.Tuple, ast.List)):
            stars = [item for item in target.elts if isinstance(item, ast.Starred)]
            if len(stars) > 1 or (stars and len(target.elts) > 200):
                return True
            targets.extend(item for item in target.elts if item.__class__ is not ast.Starred)
            targets.extend(star.value for star in stars)
    return False


def _may_repeat_argument(spec: ast.arguments) -> bool:
    names = [arg.arg for arg in spec.args]
    if spec.kwonlyargs or spec.posonlyargs or spec.vararg or spec.kwarg:
        names += [arg.arg for arg in (*spec.posonlyargs, *spec.kwonlyargs)]
        names += [arg.arg for arg in (spec.vararg, spec.kwarg) if arg is not None]
    if len(names) < 2:
        return False
    # within a class two leading underscores are written out as the class: `__a` is `_C__a`
    return len(names) != len(set(names)) or any(name[:2] == "__" for name in names)


def _is_odd_import(node: ast.ImportFrom, tree: ast.Module, body: list[ast.stmt]) -> bool:
    """`import *` anywhere but at module level; `__future__` but for annotations at the top."""
    if node.names[0].name == "*" and body is not tree.body:
        return True
    if node.module != "__future__" or node.level:
        return False
    if body is not tree.body or any(name.name != "annotations" for name in node.names):
        return True
    return body.index(node) > (docstring_of(body) is not None)
