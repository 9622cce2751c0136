"""Changes of files as values, and writing them: all of them, or none."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
import shutil
import tokenize
import tomllib
from collections.abc import Mapping, Sequence

from msgspec import Struct

from discover_orch.config.file import SHARED_FILE
from discover_orch.model.conventions import SKIPPED_FOLDERS
from discover_orch.model.errors import Location, ProjectError
from discover_orch.state.sealed_files import UNFINISHED


class FileChange(Struct, frozen=True, kw_only=True):
    """A file below the root, `path` with `/`: its content before, None where it does not exist, and afterwards."""

    path: str
    old: bytes | None
    new: bytes

    @property
    def is_new(self) -> bool:
        return self.old is None


def read_file(root: str, path: str) -> bytes | None:
    """The bytes of a file below the root; None if there is none. Raises ProjectError if it cannot be read."""
    try:
        with open(os.path.join(root, path), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _cannot("read", path, error) from None


def read_text(name: str) -> str:
    """A text of this package, which ends in `.txt`, also where it is a module of the user's."""
    with open(os.path.join(os.path.dirname(__file__), f"{name}.txt"), encoding="utf-8") as file:
        return file.read()


def is_searched(folder: str) -> bool:
    """Whether it may hold code of the project: it is neither hidden nor a virtual environment or made by a build."""
    name = os.path.basename(folder)
    is_skipped = name.startswith(".") or name in SKIPPED_FOLDERS
    return not is_skipped and not os.path.exists(os.path.join(folder, "pyvenv.cfg"))


def write_changes(root: str, changes: Sequence[FileChange]) -> None:
    """Writes every change. Raises ProjectError where one cannot be written; then no file has changed, and a
    new folder may be there. Links and permissions stay."""
    # The new content in a file of its own, and the file whose place it takes.
    written: list[tuple[str, str]] = []
    path = ""
    try:
        for change in changes:
            path = change.path
            if read_file(root, path) != change.old:
                message, hint = "the file has changed meanwhile", "run the command again"
                raise ProjectError.of("file", message, hint, Location(path=path))
            target = os.path.realpath(os.path.join(root, path))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            temporary = f"{target}.{os.getpid()}{UNFINISHED}"
            with open(temporary, "xb") as file:
                written.append((temporary, target))
                file.write(change.new)
            if change.old is not None:
                shutil.copymode(target, temporary)
        for temporary, target in written:
            os.replace(temporary, target)
    except BaseException as error:
        for temporary, _ in written:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if isinstance(error, OSError):
            raise _cannot("write", path, error) from None
        raise


def _cannot(what: str, path: str, error: OSError) -> ProjectError:
    message = f"cannot {what} the file: {error.strerror or error}"
    hint = "check its permissions and those of its folder"
    return ProjectError.of("file", message, hint, Location(path=path))


#: Strings, lists of strings, or such tables.
Table = Mapping[str, "str | Sequence[str] | Table | None"]


class CannotEdit(ValueError):
    """The text cannot be read, or is written in a way that cannot be changed in place."""


def toml_value(value: str | Sequence[str]) -> str:
    """A string, or a list of strings, as TOML writes it on one line."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return "[" + ", ".join(map(toml_value, value)) + "]"


def toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_value(key)


def toml_table(name: str, table: Table) -> str:
    """`[name]` and its keys, a line each. Keys whose value is None are left out; tables in it follow as sections."""
    lines = [f"[{name}]"]
    inner = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            if value:
                inner.append(toml_table(f"{name}.{toml_key(key)}", value))
        elif value is not None:
            lines.append(f"{toml_key(key)} = {toml_value(value)}")
    return "\n\n".join(["\n".join(lines), *(text.rstrip("\n") for text in inner)]) + "\n"


def add_settings(root: str, table: Table) -> FileChange:
    """`pyproject.toml` with the settings of orch at its end. Raises CannotEdit."""
    old = read_file(root, SHARED_FILE)
    try:
        new = append_table((old or b"").decode(), "tool.orch", table)
    except ValueError as error:
        raise CannotEdit(f"[tool.orch] cannot be added: {error}") from None
    return FileChange(path=SHARED_FILE, old=old, new=new.encode())


def append_table(text: str, name: str, table: Table) -> str:
    """`text` with a new table at its end. Raises ValueError where the result would not mean that."""
    newline = "\r\n" if "\r\n" in text else "\n"
    added = toml_table(name, table)
    gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    new = text + (gap + added).replace("\n", newline)
    found, wanted = (_at(tomllib.loads(one), name.split(".")) for one in (new, added))
    if found == wanted:
        return new
    raise CannotEdit("the table cannot be added at the end")


def append_to_list(text: str, table: Sequence[str], key: str, value: str) -> str:
    """`text` with one more string at the end of the list `key` of a table. Raises CannotEdit."""
    before = _at(tomllib.loads(text), [*table, key])
    if not isinstance(before, list):
        raise CannotEdit(f"{key} is not a list")
    pattern = rf"(?m)^(?P<head>[ \t]*{re.escape(key)}[ \t]*=[ \t]*\[)(?P<items>[^\[\]]*)\]"
    for found in re.finditer(pattern, text):
        items = found["items"]
        comma = "" if not items.strip() or items.rstrip().endswith(",") else ","
        if "\n" in items:
            body, tail = items.rstrip(), items[len(items.rstrip()) :]
            indent = re.findall(r"\n([ \t]*)\S", items)
            new_items = f"{body}{comma}\n{indent[-1] if indent else '  '}{toml_value(value)},{tail}"
        else:
            space = " " if items.strip() else ""
            new_items = f"{items.rstrip()}{comma}{space}{toml_value(value)}"
        new = f"{text[: found.start()]}{found['head']}{new_items}]{text[found.end() :]}"
        try:
            parsed = tomllib.loads(new)
        except tomllib.TOMLDecodeError:
            continue
        if _at(parsed, [*table, key]) == [*before, value]:
            return new
    raise CannotEdit(f"{key} cannot be changed in place")


def _at(table: Mapping[str, object], path: Sequence[str]) -> object:
    found: object = table
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            return None
        found = found[key]
    return found


def add_tags(data: bytes, tags: Mapping[str, str]) -> bytes:
    """`data`, the text of a module, with the lines `NAME = VALUE` of `tags` behind the imports at its top. Raises
    CannotEdit."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    text, tree = data.decode(encoding), ast.parse(data)
    # `ast` counts these, not the other ends of lines that `splitlines` knows.
    lines = text.split("\n")
    place = _find_place(tree, lines)
    head, rest = lines[:place], lines[place:]
    above = [one for one in tree.body if (one.end_lineno or 0) <= place]
    below = tree.body[len(above) :]
    added = [f"{name} = {value}" for name, value in tags.items()]
    if head and head[-1].strip():
        added.insert(0, "")
    if rest and rest[0].strip():
        blocks = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        added += ["", ""] if below and isinstance(below[0], blocks) else [""]
    ending = "\r" if "\r\n" in text else ""
    new = "\n".join([*head, *(line + ending for line in added), *rest]).encode(encoding)
    wanted = [*above, *ast.parse("\n".join(added)).body, *below]
    with contextlib.suppress(SyntaxError):
        if [*map(ast.dump, ast.parse(new).body)] == [*map(ast.dump, wanted)]:
            return new
    raise CannotEdit("the tags cannot be added without changing something else")


def add_alias(data: bytes, function: str) -> bytes:
    """`data`, the text of a module, with the line `run = FUNCTION` below the function. Raises CannotEdit."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    text, tree = data.decode(encoding), ast.parse(data)
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    [*_, index] = [
        number
        for number, one in enumerate(tree.body)
        if isinstance(one, kinds) and one.name == function
    ]
    lines, ending = text.split("\n"), "\r" if "\r\n" in text else ""
    place = tree.body[index].end_lineno or 0
    lines[place:place] = [ending, ending, f"run = {function}{ending}"]
    new = "\n".join(lines).encode(encoding)
    wanted = [
        *tree.body[: index + 1],
        *ast.parse(f"run = {function}").body,
        *tree.body[index + 1 :],
    ]
    with contextlib.suppress(SyntaxError):
        if [*map(ast.dump, ast.parse(new).body)] == [*map(ast.dump, wanted)]:
            return new
    raise CannotEdit(f"run = {function} cannot be added below the function")


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
