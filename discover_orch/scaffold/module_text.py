"""Tags added to the text of a module, behind its imports. Everything else of the text stays as it is."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Mapping, Sequence


class CannotTag(ValueError):
    """The module cannot be read, or has no place for the tags."""


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
    # `ast` counts these, not the other ends of lines that `splitlines` knows.
    lines = text.split("\n")
    place = _find_place(tree, lines)
    head, rest = lines[:place], lines[place:]
    above = [one for one in tree.body if (one.end_lineno or 0) <= place]
    below = tree.body[len(above) :]
    added = [f"{name} = {value}" for name, value in tags.items()]
    if head and head[-1].strip():
        added.insert(0, "")
    if not rest:
        added.append("")
    elif rest[0].strip():
        blocks = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        added += ["", ""] if below and isinstance(below[0], blocks) else [""]
    ending = "\r" if "\r\n" in text else ""
    new = "\n".join([*head, *(line + ending for line in added), *rest]).encode(encoding)
    wanted = [*above, *ast.parse("\n".join(added)).body, *below]
    try:
        found = ast.parse(new).body
    except SyntaxError:
        found = []
    if [*map(ast.dump, found)] != [*map(ast.dump, wanted)]:
        raise CannotTag("the tags cannot be added without changing something else")
    return new


def _find_place(tree: ast.Module, lines: Sequence[str]) -> int:
    """The number of lines above the tags: those of the docstring and of the imports that begin the module, else of
    the comments."""
    place = 0
    for number, statement in enumerate(tree.body):
        is_docstring = number == 0 and ast.get_docstring(tree, clean=False) is not None
        if not is_docstring and not isinstance(statement, ast.Import | ast.ImportFrom):
            break
        place = statement.end_lineno or statement.lineno
    code = (number for number, line in enumerate(lines) if line.strip() and line[0] != "#")
    return place or next(code, 0)
