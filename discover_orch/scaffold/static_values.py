"""The values that a module's top level gives to names, worked out from its syntax tree: nothing is run.

Texts, lists and dicts may be written out or computed from each other: f-strings, sums, comprehensions, loops,
`sorted`, `update`. Each text remembers its line. What cannot be worked out is an `Unknown`, also inside of a list or
a dict.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from discover_orch.scaffold.value_kinds import (
    CannotTell,
    Imports,
    NoImports,
    Ref,
    Text,
    Unknown,
    known_text,
)

_MOST_STEPS = 10_000  # of loops, so that each file is read in a moment
_MOST_ITEMS = 10_000  # of a list or the letters of a text that is computed
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: lambda one, other: bool(one == other),
    ast.NotEq: lambda one, other: bool(one != other),
    ast.In: lambda one, other: one in other,
    ast.NotIn: lambda one, other: one not in other,
}
_TEXT_METHODS = frozenset(
    [
        "format",
        "join",
        "replace",
        "lower",
        "upper",
        "strip",
        "split",
        "removeprefix",
        "removesuffix",
    ]
)
_REMOVING = ("pop", "remove", "clear", "sort", "reverse")
_BUILT_INS: Mapping[str, Callable[..., Any]] = {
    "list": list,
    "tuple": list,
    "set": lambda items=(): list(dict.fromkeys(items)),
    "dict": dict,
    "OrderedDict": dict,
    "sorted": sorted,
    "reversed": lambda items: list(reversed(list(items))),
    "zip": lambda *lists: [list(row) for row in zip(*lists, strict=False)],
    "enumerate": lambda items: [list(row) for row in enumerate(items)],
    "sum": lambda lists, start: list(itertools.chain(start, *lists)),
    "chain": lambda *lists: list(itertools.chain(*lists)),
    "from_iterable": lambda lists: list(itertools.chain(*lists)),
    "fromkeys": dict.fromkeys,
    "str": str,
}


def read_values(
    tree: ast.Module, package: str = "", imports: Imports | None = None
) -> dict[str, Any]:
    """The names bound at the top level, and the attributes of classes as `Class.NAME`; what `__init__` gives to `self`
    counts as an attribute. `package` is that of the module, for relative imports."""
    reader = _Reader(package, imports or NoImports())
    reader.run(tree.body, "")
    return reader.names


class _Reader:
    def __init__(self, package: str, imports: Imports) -> None:
        self.names: dict[str, Any] = {}
        self._package = package
        self._imports = imports
        self._steps = 0

    def run(self, body: Iterable[ast.stmt], scope: str) -> None:
        for statement in body:
            match statement:
                case ast.Import(names=names):
                    for one in names:
                        known = one.asname or one.name.partition(".")[0]
                        full = one.name if one.asname else known
                        self.names[scope + known] = Ref(name=full, line=statement.lineno)
                case ast.ImportFrom():
                    self._import_from(statement, scope)
                case ast.Assign(targets=targets, value=value):
                    found = self.value(value, scope)
                    for target in targets:
                        self._bind(target, found, scope)
                case ast.AnnAssign(target=target, value=ast.expr() as value):
                    self._bind(target, self.value(value, scope), scope)
                case ast.AugAssign(target=target, op=op, value=value):
                    sum_of = ast.BinOp(left=_as_read(target), op=op, right=value)
                    self._bind(
                        target, self.value(ast.copy_location(sum_of, statement), scope), scope
                    )
                case ast.Expr(value=ast.Call(func=ast.Attribute(value=owner, attr=method)) as call):
                    self._change(owner, method, call, scope)
                case ast.For(target=target, iter=items, body=inner):
                    self._loop(target, items, inner, scope)
                case ast.ClassDef(name=name, body=inner):
                    self.run(inner, f"{name}.")
                case ast.FunctionDef(name="__init__", body=inner) if scope:
                    self.run(inner, scope)
                case ast.Try(body=inner) | ast.With(body=inner):
                    self.run(inner, scope)
                case ast.If():
                    self._forget(statement, scope)

    def _import_from(self, statement: ast.ImportFrom, scope: str) -> None:
        parts = self._package.split(".") if self._package and statement.level else []
        parts = parts[: len(parts) - statement.level + 1]
        module = ".".join([*parts, *([statement.module] if statement.module else [])])
        for one in statement.names:
            if one.name == "*":
                self.names |= {scope + name: it for name, it in self._imports.names(module).items()}
                continue
            full = f"{module}.{one.name}" if module else one.name
            found = self._imports.value(full)
            ref = Ref(name=full, line=statement.lineno)
            self.names[scope + (one.asname or one.name)] = ref if found is None else found

    def value(self, node: ast.expr, scope: str) -> Any:
        try:
            return self._evaluate(node, scope)
        except (CannotTell, TypeError, ValueError, KeyError, IndexError, AttributeError):
            return Unknown(line=node.lineno, text=ast.unparse(node))

    def _bind(self, target: ast.expr, found: Any, scope: str) -> None:
        match target:
            case ast.Name(id=name):
                self.names[scope + name] = found
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
                self.names[scope + name] = found
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                values = found if isinstance(found, list) and len(found) == len(parts) else None
                for place, part in enumerate(parts):
                    unknown = Unknown(line=target.lineno, text=ast.unparse(part))
                    self._bind(part, values[place] if values else unknown, scope)
            case ast.Subscript(value=owner, slice=key):
                table = self.value(owner, scope)
                if isinstance(table, dict):
                    word = self.value(key, scope)
                    if isinstance(word, list | dict):  # no key of a dict
                        word = Unknown(line=key.lineno, text=ast.unparse(key))
                    table[word] = word if isinstance(word, Unknown) else found

    def _change(self, owner: ast.expr, method: str, call: ast.Call, scope: str) -> None:
        """`STAGES.update(...)`, `NAMES.append(...)`."""
        held = self.value(owner, scope)
        given = [self.value(one, scope) for one in call.args]
        named = {one.arg: self.value(one.value, scope) for one in call.keywords if one.arg}
        unknown = Unknown(line=call.lineno, text=ast.unparse(call))
        if isinstance(held, dict) and method == "update":
            for table in given:
                held.update(table if isinstance(table, dict) else {unknown: unknown})
            held.update({Text(name, call.lineno): one for name, one in named.items()})
        elif isinstance(held, dict) and method == "setdefault" and len(given) == 2:
            if not isinstance(given[0], list | dict):
                held.setdefault(*given)
        elif isinstance(held, list) and method == "append" and len(given) == 1:
            held.append(given[0])
        elif isinstance(held, list) and method == "extend" and len(given) == 1:
            is_list = isinstance(given[0], list) and len(held) < _MOST_ITEMS
            held.extend(given[0] if is_list else [unknown])
        elif isinstance(held, list) and method == "insert" and len(given) == 2:
            if isinstance(given[0], int):
                held.insert(*given)
        elif isinstance(held, dict | list) and method in _REMOVING:
            self._bind(owner, unknown, scope)

    def _loop(self, target: ast.expr, items: ast.expr, body: list[ast.stmt], scope: str) -> None:
        found = self.value(items, scope)
        if not isinstance(found, dict | list):
            self._forget(ast.Module(body=body, type_ignores=[]), scope)
            return
        for item in list(found):
            self._steps += 1
            if self._steps > _MOST_STEPS:
                return
            self._bind(target, item, scope)
            self.run(body, scope)

    def _forget(self, block: ast.AST, scope: str) -> None:
        """What is bound in a block that may not be run is not known; what it already was stays unless it is bound."""
        for node in ast.walk(block):
            targets = node.targets if isinstance(node, ast.Assign) else ()
            for target in targets:
                unknown = Unknown(
                    line=target.lineno, text=f"{ast.unparse(target)}, set under a condition"
                )
                self._bind(target, unknown, scope)

    # Expressions.

    def _evaluate(self, node: ast.expr, scope: str) -> Any:
        match node:
            case ast.Constant(value=str() as text):
                return Text(text, node.lineno)
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return self._name(name, scope)
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
                return self._name(name, scope)
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if (
                f"{owner}.{name}" in self.names
            ):
                return self.names[f"{owner}.{name}"]
            case ast.Attribute(value=owner, attr=name):
                ref = self._evaluate(owner, scope)
                if not isinstance(ref, Ref):
                    raise CannotTell
                if name == "__name__":
                    return Text(ref.name, node.lineno)
                full = f"{ref.name}.{name}"
                found = self._imports.value(full)
                return Ref(name=full, line=node.lineno) if found is None else found
            case ast.JoinedStr(values=parts):
                return Text("".join(self._part(one, scope) for one in parts), node.lineno)
            case ast.BinOp():
                return self._combine(node, scope)
            case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
                return list(self._items(items, scope))
            case ast.Dict():
                return self._dict(node, scope)
            case ast.Subscript(value=owner, slice=ast.Slice(lower=low, upper=high, step=None)):
                start, end = (
                    None if one is None else self._evaluate(one, scope) for one in (low, high)
                )
                return self._evaluate(owner, scope)[start:end]
            case ast.Subscript(value=owner, slice=key):
                return self._evaluate(owner, scope)[self._evaluate(key, scope)]
            case ast.ListComp() | ast.GeneratorExp() | ast.SetComp():
                return [self.value(node.elt, scope) for _ in self._rounds(node.generators, scope)]
            case ast.DictComp():
                return {
                    self.value(node.key, scope): self.value(node.value, scope)
                    for _ in self._rounds(node.generators, scope)
                }
            case ast.Call():
                return self._call(node, scope)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self._evaluate(operand, scope)
            case _:
                raise CannotTell

    def _name(self, name: str, scope: str) -> Any:
        for key in (scope + name, name):
            if key in self.names:
                return self.names[key]
        raise CannotTell

    def _part(self, node: ast.expr, scope: str) -> str:
        inner = node.value if isinstance(node, ast.FormattedValue) else node
        if isinstance(node, ast.FormattedValue) and (node.format_spec or node.conversion != -1):
            raise CannotTell
        return str(known_text(self._evaluate(inner, scope)))

    def _combine(self, node: ast.BinOp, scope: str) -> Any:
        left, right = self._evaluate(node.left, scope), self._evaluate(node.right, scope)
        match node.op:
            case ast.Add() if len(left) + len(right) > _MOST_ITEMS:
                raise CannotTell
            case ast.Add() if isinstance(left, str):
                return Text(known_text(left) + known_text(right), node.lineno)
            case ast.Add() if isinstance(left, list) and isinstance(right, list):
                return [*left, *right]
            case ast.Mod() if isinstance(left, str) and left.count("%") == left.count("%s"):
                values = tuple(right) if isinstance(right, list) else right
                return Text(left % values, node.lineno)
            case ast.BitOr() if isinstance(left, dict) and isinstance(right, dict):
                return {**left, **right}
        raise CannotTell

    def _items(self, items: Iterable[ast.expr], scope: str) -> Iterator[Any]:
        for item in items:
            if isinstance(item, ast.Starred):
                found = self.value(item.value, scope)
                yield from found if isinstance(found, list | dict) else [found]
            else:
                yield self.value(item, scope)

    def _dict(self, node: ast.Dict, scope: str) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            held = self.value(value, scope)
            if key is None:
                found.update(held if isinstance(held, dict) else {held: held})
            else:
                found[self.value(key, scope)] = held
        return found

    def _rounds(self, generators: list[ast.comprehension], scope: str) -> Iterator[None]:
        """Binds the names of a comprehension, once for each of its values. They are forgotten afterwards."""
        first, *rest = generators
        items = self._evaluate(first.iter, scope)
        if not isinstance(items, list | dict):
            raise CannotTell
        before = dict(self.names)
        for item in list(items):
            self._steps += 1
            if self._steps > _MOST_STEPS:
                raise CannotTell
            self._bind(first.target, item, "")
            if all(self._holds(test, scope) for test in first.ifs):
                if rest:
                    yield from self._rounds(rest, scope)
                else:
                    yield
        self.names = before

    def _holds(self, test: ast.expr, scope: str) -> bool:
        match test:
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
                one, other = self._evaluate(left, scope), self._evaluate(right, scope)
                return _COMPARE[type(op)](known_text(one), known_text(other))
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                return not self._holds(inner, scope)
            case ast.Call(
                func=ast.Attribute(value=owner, attr="startswith" | "endswith" as method),
                args=[word],
            ):
                text, part = known_text(self._evaluate(owner, scope)), self._evaluate(word, scope)
                return bool(getattr(text, method)(part))
        raise CannotTell

    def _call(self, node: ast.Call, scope: str) -> Any:
        if any(one.arg is None for one in node.keywords):
            raise CannotTell
        given = list(self._items(node.args, scope))
        named = {one.arg: self.value(one.value, scope) for one in node.keywords if one.arg}
        match node.func:
            case ast.Attribute(attr="import_module"):
                return Ref(name=known_text(given[0]), line=node.lineno)
            case ast.Attribute(value=owner, attr="keys" | "values" | "items" | "copy" as method):
                held = self._evaluate(owner, scope)
                if isinstance(held, list) and method == "copy":
                    return list(held)
                if not isinstance(held, dict):
                    raise CannotTell
                rows = list(map(list, held.items()))
                found = {"keys": list(held), "values": list(held.values()), "items": rows}
                return found.get(method, dict(held))
            case ast.Attribute(value=owner, attr=method) if method in _TEXT_METHODS:
                text = known_text(self._evaluate(owner, scope))
                if ":" in text or len(text) + sum(map(len, map(str, given))) > _MOST_ITEMS:
                    raise CannotTell  # a format such as {:>9999999}, or a long text
                made = getattr(str(text), method)(*map(known_text, given), **named)
                return Text(made, node.lineno) if isinstance(made, str) else made
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in _BUILT_INS:
                if name in ("dict", "OrderedDict"):
                    return {
                        **dict(*given),
                        **{Text(key, node.lineno): one for key, one in named.items()},
                    }
                if named:
                    raise CannotTell
                return _BUILT_INS[name](*given)
        raise CannotTell


def _as_read(target: ast.expr) -> ast.expr:
    """`NAME` of `NAME += ...`, as an expression that reads it."""
    copied: ast.expr = ast.parse(ast.unparse(target), mode="eval").body
    return copied
