"""Tags added to the text of a module, behind its imports. Everything else of the text stays as it is."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Mapping


class CannotTag(ValueError):
    """The module cannot be read."""


def add_tags(data: bytes, tags: Mapping[str, str]) -> bytes:
    """`data` with the lines `NAME = VALUE` of `tags` behind the imports at its top. Raises CannotTag."""
    if not tags:
        return data
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
        tree = ast.parse(data)
    except (SyntaxError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise CannotTag(f"not valid Python: {error}") from None
    newline = "\r\n" if "\r\n" in text else "\n"
    # `ast` counts these, not the other ends of lines that `splitlines` knows.
    lines = text.split("\n")
    place = _find_place(tree)
    head, rest = lines[:place], lines[place:]
    added = [f"{name} = {value}" for name, value in tags.items()]
    if head and head[-1].strip():
        added.insert(0, "")
    if rest and rest[0].strip():
        is_block = _begins_block(tree, place)
        added += ["", ""] if is_block else [""]
    elif not rest:
        added.append("")
    ending = "\r" if newline == "\r\n" else ""
    new_text = "\n".join([*head, *(line + ending for line in added), *rest])
    new = new_text.encode(encoding)
    _verify(tree, new, tags)
    return new


def _find_place(tree: ast.Module) -> int:
    """The number of lines above the tags: those of the docstring and of the imports that begin the module."""
    place = 0
    body = tree.body
    for number, statement in enumerate(body):
        is_docstring = (
            number == 0
            and isinstance(statement, ast.Expr)
            and isinstance(statement.value, ast.Constant)
            and isinstance(statement.value.value, str)
        )
        if not is_docstring and not isinstance(statement, ast.Import | ast.ImportFrom):
            break
        place = statement.end_lineno or statement.lineno
    if place == 0:
        return _first_line(body[0]) - 1 if body else 0
    while True:  # a statement behind a semicolon may continue in further lines
        end = max((one.end_lineno or 0 for one in body if one.lineno <= place), default=place)
        if end <= place:
            return place
        place = end


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(one.lineno for one in decorators)])


def _begins_block(tree: ast.Module, place: int) -> bool:
    following = next((one for one in tree.body if one.lineno > place), None)
    return isinstance(following, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)


def _verify(tree: ast.Module, new: bytes, tags: Mapping[str, str]) -> None:
    """The new module is the old one and the tags."""
    found = ast.parse(new)
    dumps = [ast.dump(one) for one in found.body]
    for name, value in tags.items():
        dump = ast.dump(ast.parse(f"{name} = {value}").body[0])
        if dump not in dumps:
            raise CannotTag(f"{name} cannot be added")
        dumps.remove(dump)
    if dumps != [ast.dump(one) for one in tree.body]:
        raise CannotTag("the tags cannot be added without changing something else")
