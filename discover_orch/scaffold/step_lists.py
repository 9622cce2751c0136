"""The dicts and lists at the top of a Python file that name the steps of a pipeline.

A step is a module, a path or a function. Only literals are read; which files exist is asked through `find`.
"""

from __future__ import annotations

import ast
import contextlib
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from discover_orch.model.errors import Location

#: How a path ends that can be a step.
_ENDINGS = (".py", ".sql", ".sh", ".R", ".ipynb")
_NOT_CARRIED = "which orch does not carry over"
_TO_TAGS = "write it in the module: a default of a parameter of run(), AFTER, or a key of ORCH"
#: Methods of dicts and lists that change them. After a call of one, a literal is not the whole value.
_CHANGES = (
    *("append", "clear", "extend", "insert", "pop", "popitem"),
    *("remove", "reverse", "setdefault", "sort", "update"),
)


class Step(Struct, frozen=True, kw_only=True):
    """`text` is `src.clean`, `src.clean:main` or `src/clean.py`. `problem` says why the entry cannot become a tool,
    and `hint` what to do; `is_there` is whether its module or function is part of the project."""

    name: str
    text: str
    place: Location
    problem: str = ""
    hint: str = ""
    is_there: bool = False


class StepList(Struct, frozen=True, kw_only=True):
    """`lists` are those of a dict of lists: the name of each, the names of its steps, and its place."""

    name: str
    line: int
    steps: tuple[Step, ...]
    lists: tuple[tuple[str, tuple[str, ...], Location], ...] = ()


#: (the folder on `sys.path`, the file) of a module or a path; empty where there is none.
Find = Callable[[str], tuple[str, str]]


class _NotRead(Exception):
    """A value is no literal, and no name of a module or a function."""


class StepReader:
    """What the values in one file name. `tree` is the file at `path`."""

    def __init__(self, tree: ast.Module, path: str, find: Find) -> None:
        self._tree, self._path, self._find = tree, path, find
        self._imports = dict(_imports(tree, find))
        #: By list what the file puts around its entries, as `etl.` in `import_module(f"etl.{name}")`.
        self._templates = dict(_find_templates(tree, find))
        self._prefix = self._suffix = ""
        self._functions = {
            node.name: node
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }

    @property
    def imported(self) -> frozenset[str]:
        """The names of modules and functions of the project that the file imports."""
        texts = [
            *self._imports.items(),
            *(
                (one.name.partition(".")[0], one.name)
                for node in ast.walk(self._tree)
                for one in (node.names if isinstance(node, ast.Import) else ())
            ),
        ]
        return frozenset(name for name, text in texts if self._find(text.partition(":")[0])[1])

    def find_names(self) -> Iterator[tuple[str, int]]:
        """The names of the dicts and lists with at least one step that is part of the project, and their lines."""
        for name, value in top_assignments(self._tree):
            nodes: Sequence[ast.expr] = ()
            match value:
                case ast.Dict(values=nodes) | ast.List(elts=nodes) | ast.Tuple(elts=nodes):
                    pass
            inner = [one for node in nodes for one in (getattr(node, "elts", None) or [node])]
            if any(self._is_there(name, one) for one in (*nodes, *inner)):
                yield name, value.lineno

    def _is_there(self, name: str, node: ast.expr) -> bool:
        self._prefix, self._suffix = self._templates.get(name, ("", ""))
        try:
            return self._read_step("", node).is_there
        except _NotRead:
            return False

    def read(self, name: str, value: ast.expr) -> StepList | None:
        """None where the value is no dict and no list of steps."""
        self._prefix, self._suffix = self._templates.get(name, ("", ""))
        try:
            return self._read_container(name, value)
        except _NotRead:
            return None

    def _read_container(self, name: str, value: ast.expr) -> StepList | None:
        items: list[tuple[str, ast.expr]]
        match value:
            case ast.Dict(keys=keys, values=values) if values and all(map(_text, keys)):
                pairs = list(zip(map(_text, keys), values, strict=True))
                if all(isinstance(one, ast.List) and not self._is_pair(one) for one in values):
                    return self._read_lists(name, value, pairs)
                items = pairs
            case ast.List(elts=values) | ast.Tuple(elts=values) if values:
                items = [("", one) for one in values]
            case _:
                return None
        steps = tuple(self._read_step(*item) for item in items)
        return StepList(name=name, line=value.lineno, steps=steps)

    def read_value(self, name: str, value: object, place: Location) -> Step:
        """The step that a value is which the file itself gave."""
        try:
            step = self._read_step(name, ast.parse(repr(value), mode="eval").body)
        except _NotRead:
            return Step(name=name, text=repr(value), place=place)
        return replace(step, place=place)

    def _is_pair(self, node: ast.List) -> bool:
        """`["src.clean", "main"]`: a module and its function."""
        texts = [*map(_text, node.elts)]
        return len(texts) == 2 and texts[1].isidentifier() and bool(self._find(texts[0])[1])

    def _read_lists(
        self, name: str, value: ast.expr, pairs: Sequence[tuple[str, ast.expr]]
    ) -> StepList:
        steps: dict[str, Step] = {}
        lists = []
        for key, node in pairs:
            assert isinstance(node, ast.List)
            members = [self._read_step("", one) for one in node.elts]
            for step in members:
                steps.setdefault(step.name, step)
            names = tuple(step.name for step in members)
            lists.append((key, names, Location(path=self._path, line=node.lineno)))
        return StepList(
            name=name, line=value.lineno, steps=tuple(steps.values()), lists=tuple(lists)
        )

    def _read_step(self, name: str, node: ast.expr) -> Step:
        place = Location(path=self._path, line=node.lineno)
        problem = hint = ""
        match node:
            case ast.Tuple(elts=[first, second, *more]) if self._is_name(first, second):
                inner = self._read_step(_text(first), second)
                if inner.is_there and not more:
                    return replace(inner, name=name or inner.name, place=place)
                if inner.is_there:
                    problem = f"the entry also has {ast.unparse(more[0])}, {_NOT_CARRIED}"
                    return replace(inner, place=place, problem=problem, hint=_TO_TAGS)
            case ast.Dict(keys=keys, values=values):
                return self._read_dict(name, dict(zip(map(_text, keys), values, strict=True)), node)
            case ast.Name(id=word) if word in self._functions:
                problem = f"{word}() is defined in this file"
                hint = (
                    f"move it into a module of its own, such as src/{word}.py, and name that here"
                )
                shown = name or word
                return Step(
                    name=shown, text=word, place=place, problem=problem, hint=hint, is_there=True
                )
        text, rest = self._text_of(node)
        if not text and not isinstance(node, ast.Constant):
            raise _NotRead
        if rest:
            problem = f"the entry passes {rest}, {_NOT_CARRIED}"
            hint = "make it the default of a parameter of run(), and leave it out here"
        shown = name or text.rpartition(":")[2] or ast.unparse(node)
        if not name and (":" not in text or text.endswith((":run", ":main"))):
            shown = _stem(text.partition(":")[0]) or ast.unparse(node)
        is_there = bool(self._find(text.partition(":")[0])[1]) if text else False
        text = text or ast.unparse(node)
        return Step(
            name=shown, text=text, place=place, problem=problem, hint=hint, is_there=is_there
        )

    def _is_name(self, first: ast.expr, second: ast.expr) -> bool:
        """Whether a pair is a name and a step: `("fetch", fetch)`, also where there is a module `fetch`."""
        text = _text(first)
        is_module = bool(self._find(text)[1]) and bool(_text(second))
        return bool(text) and not _is_interpreter(text) and not is_module

    def _read_dict(self, name: str, values: Mapping[str, ast.expr], node: ast.Dict) -> Step:
        """`{"name": "clean", "script": "clean.py"}`: the one value that is a step, and its name."""
        found = {}
        for key, one in values.items():
            with contextlib.suppress(_NotRead):
                found[key] = self._read_step("", one)
        steps = [(key, step) for key, step in found.items() if step.is_there]
        place = Location(path=self._path, line=node.lineno)
        if len(steps) != 1:
            raise _NotRead
        [(key, step)] = steps
        named = _text(values["name"]) if "name" in values else ""
        step = replace(step, name=name or named or step.name, place=place)
        others = [one for one in values if one not in (key, "name")]
        if others:
            problem = f'the entry also has "{others[0]}", {_NOT_CARRIED}'
            return replace(step, problem=problem, hint=_TO_TAGS)
        return step

    def _text_of(self, node: ast.expr) -> tuple[str, str]:
        """(the module, path or function that the node names, what it passes to it); empty where it names none."""
        match node:
            case ast.Constant(value=str(text)):
                return _read_command(f"{self._prefix}{text}{self._suffix}")
            case ast.List(elts=parts) | ast.Tuple(elts=parts) if all(map(_text, parts)):
                texts = [*map(_text, parts)]
                if isinstance(node, ast.List) and self._is_pair(node):
                    return f"{texts[0]}:{texts[1]}", ""
                return _read_command(shlex.join(texts))
            case ast.Name(id=word):
                return self._imports.get(word, ""), ""
            case ast.Attribute(value=owner, attr=last):
                base, _ = self._text_of(owner)
                if not base and isinstance(owner, ast.Attribute | ast.Name):
                    base = ast.unparse(owner)
                module = f"{base}.{last}"
                return (module if self._find(module)[1] else f"{base}:{last}"), ""
            case ast.Call(args=[first, *_]) if ast.unparse(node.func) in (
                "partial",
                "functools.partial",
            ):
                rest = [*node.args[1:], *(keyword.value for keyword in node.keywords)]
                return self._text_of(first)[0], ", ".join(map(ast.unparse, rest))
            case ast.Lambda(body=ast.Call(func=func) as call):
                return self._text_of(func)[0], ", ".join(map(ast.unparse, call.args)) or "a lambda"
        return "", ""


def _find_templates(tree: ast.Module, find: Find) -> Iterator[tuple[str, tuple[str, str]]]:
    """For lists whose entries name files only with a text around them, that text."""
    around: list[tuple[str, str]] = []
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr(values=[ast.Constant(value=str(before)), ast.FormattedValue()]):
                around.append((before, ""))
            case ast.JoinedStr(
                values=[
                    ast.Constant(value=str(before)),
                    ast.FormattedValue(),
                    ast.Constant(value=str(after)),
                ]
            ):
                around.append((before, after))
            case ast.JoinedStr(values=[ast.FormattedValue(), ast.Constant(value=str(after))]):
                around.append(("", after))
            case ast.BinOp(
                left=ast.BinOp(left=ast.Constant(value=str(before)), right=ast.Name()),
                op=ast.Add(),
                right=ast.Constant(value=str(after)),
            ):
                around.append((before, after))
            case ast.BinOp(left=ast.Constant(value=str(before)), op=ast.Add(), right=ast.Name()):
                around.append((before, ""))
    for name, value in top_assignments(tree):
        if isinstance(value, ast.List | ast.Tuple) and value.elts and all(map(_text, value.elts)):
            words = [*map(_text, value.elts)]
            for before, after in around:
                if all(find(f"{before}{word}{after}")[1] for word in words):
                    yield name, (before, after)
                    break


def top_assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """The names that statements at the top level assign one value to, and the value."""
    for statement in tree.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=ast.expr() as value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                yield name, value


def find_changes(tree: ast.Module, name: str) -> list[int]:
    """The lines that bind the name, or change what is in its value, beside the first assignment."""
    lines = [getattr(node, "lineno", 0) for node in ast.walk(tree) if _changes(node, name)]
    return lines[1:]


def find_changed(tree: ast.AST) -> set[str]:
    """The names whose lists and dicts something changes in place, as `STAGES["full"].append("a")` does."""
    return {name for node in ast.walk(tree) if (name := _find_changed(node))}


def _changes(node: ast.AST, name: str) -> bool:
    """Whether the node binds the name, or changes what is in its value."""
    match node:
        case ast.alias(name=imported, asname=known_as):
            return (known_as or imported) == name
        case ast.Name(id=bound, ctx=ast.Store() | ast.Del()):
            return bound == name
    return _find_changed(node) == name


def _find_changed(node: ast.AST) -> str:
    match node:
        case ast.Call(func=ast.Attribute(value=owner, attr=method)) if method in _CHANGES:
            changed = owner
        case ast.Call(func=func, args=[owner]) if ast.unparse(func).endswith("shuffle"):
            changed = owner
        case ast.Subscript(ctx=ast.Store() | ast.Del()):
            changed = node
        case _:
            return ""
    while isinstance(changed, ast.Subscript):
        changed = changed.value
    return ast.unparse(changed)


def _text(node: ast.AST | None) -> str:
    """The text of a string; "" for anything else."""
    match node:
        case ast.Constant(value=str(text)):
            return text
    return ""


def _stem(text: str) -> str:
    """`clean` for `src.clean` and `src/clean.py`."""
    name = os.path.basename(text)
    stem, ending = os.path.splitext(name)
    return stem if ending in _ENDINGS else name.rpartition(".")[2]


def _read_command(text: str) -> tuple[str, str]:
    """`src/clean.py` and `--full` for `python src/clean.py --full`; a text without spaces is what it is."""
    try:
        words = shlex.split(text)
    except ValueError:
        return text, ""
    if len(words) < 2:
        return text, ""
    while words and (words[0].startswith("-") or _is_interpreter(words[0])):
        words.pop(0)
    return (words[0], shlex.join(words[1:])) if words else (text, "")


def _is_interpreter(word: str) -> bool:
    return os.path.basename(word).rstrip("0123456789.") in ("python", "sh", "bash", "uv", "run")


def _imports(tree: ast.Module, find: Find) -> Iterator[tuple[str, str]]:
    """What each imported name means: `src.clean`, or `src.clean:main`."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for one in names:
                    if one.asname:
                        yield one.asname, one.name
            case ast.ImportFrom(module=str(module), names=names, level=0):
                for one in names:
                    inner = f"{module}.{one.name}"
                    is_module = bool(find(inner)[1])
                    yield one.asname or one.name, inner if is_module else f"{module}:{one.name}"
