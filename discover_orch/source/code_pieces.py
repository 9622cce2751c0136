"""The code of a module in pieces: what is executed while it is loaded, and each of its functions.

A function is plain if loading the module only binds its name: then its definition is a piece of its own, and what is
left of it in the loaded code is that a class body defines it, or that the loaded code names it. A function that an
unknown decorator takes, and all that is in a class that one takes, is loaded code as a whole, docstrings included:
whoever took it may have compiled, registered or shown it. So are functions such as a module's `__getattr__`.

For each piece stands which names it mentions (`code_names`).
"""

from __future__ import annotations

import ast
import builtins
import marshal
import sys
from binascii import b2a_base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from discover_orch.model.conventions import CHECK_PREFIXES
from discover_orch.model.encoding import blake2b
from discover_orch.model.pieces import Piece, Pieces
from discover_orch.source.code_meaning import MARSHAL_FORMAT, flatten, without_operational
from discover_orch.source.code_names import SCOPES, find_names
from discover_orch.source.literals import docstring_of

#: Decorators that call the function, or mark it, and do nothing else with it; and a metaclass.
_PLAIN = {
    "functools": "cache cached_property lru_cache singledispatch singledispatchmethod total_ordering wraps",
    "contextlib": "contextmanager asynccontextmanager",
    "dataclasses": "dataclass",
    "abc": "abstractmethod ABCMeta",
    "typing": "final overload override runtime_checkable no_type_check",
    "typing_extensions": "deprecated final overload override runtime_checkable",
    "enum": "unique",
}
_PLAIN_BASES = frozenset(
    ("ABC", "Enum", "IntEnum", "StrEnum", "NamedTuple", "Protocol", "TypedDict")
)
_PLAIN_IMPORTS = frozenset(
    f"{module}.{name}" for module, names in _PLAIN.items() for name in names.split()
)
_PLAIN_BUILTINS = frozenset(("property", "staticmethod", "classmethod"))
_DISPATCH, _WRAPS = "functools.singledispatch", "functools.wraps"
_ACCESSORS = frozenset(("setter", "getter", "deleter"))
_BUILTINS = frozenset(dir(builtins))
#: Evaluating these does nothing that other code could see: the first cannot even raise, the next not with types.
_PLAIN_VALUES = (
    ast.Constant, ast.Name, ast.Tuple, ast.List, ast.Dict, ast.UnaryOp, ast.unaryop, ast.expr_context,
)  # fmt: skip
_PLAIN_TYPES = (*_PLAIN_VALUES, ast.Subscript, ast.BinOp, ast.BitOr)
_HARMLESS = (*_PLAIN_TYPES, ast.Attribute, ast.Set, ast.Slice, ast.Starred, ast.operator)
_BLOCKS = ("body", "handlers", "cases", "orelse", "finalbody")

_Node = TypeVar("_Node", bound=ast.AST)
Function = ast.FunctionDef | ast.AsyncFunctionDef
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def read_pieces(tree: ast.Module, nodes: Iterable[object], data: bytes, path: str) -> Pieces:
    """`nodes` are all nodes of the tree, `data` is its text."""
    splitter = _Splitter(nodes, tree)
    loaded = splitter.split_module(tree.body, has_tag=b"ORCH" in data)
    pieces = {
        name: _read_piece(found, splitter.imported, splitter.registered.get(name, set()))
        for name, found in splitter.functions.items()
    }
    signatures = [
        (name, pieces[name].header, flatten([_copy(one, body=[]) for one in found])[0])
        for name, found in splitter.functions.items()
    ]
    load = splitter.finish(loaded, pieces)
    place = path if b"__file__" in data else ""  # at another place it means something else
    load = Piece(_hash([load.body, place]), "", load.docs, load.calls, load.values)
    docs = _hash([*_docstrings([tree])])
    version = _hash([load.body, docs, *((name, one.body) for name, one in pieces.items())])
    listed = _hash(signatures)
    return Pieces(version, load, pieces, docs, listed, splitter.aliases, tuple(splitter.loaded))


class _Splitter:
    def __init__(self, nodes: Iterable[object], tree: ast.Module) -> None:
        #: Names that imports bind, with the module, or the module and the name in it.
        self.aliases: dict[str, str] = {}
        self._imported: dict[str, str] = {}
        self._globals: set[str] = set()  # that functions bind
        self._bound: set[str] = set()
        self._rebound: set[str] = set()  # these may stand for something else than a definition
        self._has_star = self._has_lazy_annotations = False
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._note_import(node)
            elif isinstance(node, ast.Name):
                if isinstance(node.ctx, ast.Store):
                    self._rebound.add(node.id)
            elif isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
                (self._rebound if node.name in self._bound else self._bound).add(node.name)
            elif isinstance(node, ast.Global):
                self._globals.update(node.names)
        self.imported = {*self._imported}
        self._rebound |= self.imported | self._globals | ({"*"} if self._has_star else set())
        self._bound |= self._rebound
        self._bound_so_far = set(_BUILTINS)
        self._evaluated: set[str] = set()  # defaults and annotations that can raise
        self.functions: dict[str, list[Function]] = {}
        #: By the functions of `singledispatch` the names of those that are registered there.
        self.registered: dict[str, set[str]] = {}
        #: Where the loaded code may say that a function at the top is defined there.
        self._marks: list[tuple[list[ast.stmt], ast.stmt, str]] = []
        self._wholes: list[ast.AST] = []
        self._of_others: list[ast.AST] = []  # classes with a base that may show their docstrings
        self.loaded: dict[str, None] = {}
        self._top: list[ast.stmt] = []

    def _note_import(self, node: ast.Import | ast.ImportFrom) -> None:
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        self._has_lazy_annotations |= module == "__future__"
        for one in node.names:
            self._has_star |= one.name == "*"
            name = one.asname or one.name.partition(".")[0]
            found = f"{module}.{one.name}" if module else one.name
            self._imported[name] = found if self._imported.get(name, found) == found else ""
            if one.asname and one.asname != one.name:
                self.aliases[one.asname] = one.name.rpartition(".")[2]

    def split(self, statements: list[ast.stmt], prefix: str, *, is_class: bool) -> list[ast.stmt]:
        """These statements without the bodies of plain functions."""
        found: list[ast.stmt] = []
        for one in statements:
            if isinstance(one, _FUNCTIONS):
                if not self._is_plain(one, is_class=is_class):
                    self._add_whole(one, prefix, found)
                    continue
                self.functions.setdefault(prefix + one.name, []).append(one)
                mark = ast.Global(names=["def", one.name])
                found.append(mark)
                if not prefix and statements is self._top:
                    self._marks.append((found, mark, one.name))
                parts = [*self._executed(one), *(one.decorator_list if is_class else ())]
                found += [ast.Expr(value=part) for part in parts]
                homes = {home for each in one.decorator_list if (home := self._find_home(each))}
                for home in homes:
                    self.registered.setdefault(home, set()).add(one.name)
                if homes:
                    found.append(_copy(one, body=[]))
            elif isinstance(one, ast.ClassDef):
                if self._is_plain_class(one):
                    if not all(self._is_own_base(base) for base in one.bases):
                        self._of_others.append(one)
                    self.loaded[prefix + one.name] = None
                    body = self.split(one.body, f"{prefix}{one.name}.", is_class=True)
                    found.append(_copy(one, body=body))
                else:
                    self._add_whole(one, prefix, found)
            elif isinstance(
                one, ast.If | ast.For | ast.While | ast.With | ast.Try | ast.TryStar | ast.Match
            ):
                found.append(self._split_blocks(one, prefix, is_class=is_class))
            else:
                found.append(one)
            self._bound_so_far.update(_find_bound(one))
        return found

    def _add_whole(self, node: Function | ast.ClassDef, prefix: str, into: list[ast.stmt]) -> None:
        self._wholes.append(node)
        self.loaded[f"{prefix}{node.name}."] = None
        into.append(node)

    def _split_blocks(self, node: _Node, prefix: str, *, is_class: bool) -> _Node:
        blocks: dict[str, Sequence[ast.AST]] = {}
        for name in _BLOCKS:
            block = getattr(node, name, None)
            if name in ("handlers", "cases"):
                blocks[name] = [
                    self._split_blocks(one, prefix, is_class=is_class) for one in block or ()
                ]
            elif block:
                blocks[name] = self.split(block, prefix, is_class=is_class)
        return _copy(node, **blocks)

    def split_module(self, body: list[ast.stmt], *, has_tag: bool) -> list[ast.stmt]:
        self._top = body[1:] if docstring_of(body) is not None else body
        if has_tag:
            self._top = [
                kept for one in self._top if (kept := without_operational(one)) is not None
            ]
        return self.split(self._top, "", is_class=False)

    def finish(self, loaded: list[ast.stmt], pieces: Mapping[str, Piece]) -> Piece:
        """The loaded code. That a plain function at the top is defined there counts if something else has its name."""
        docs = [*_docstrings([*self._wholes, *self._of_others])]
        calls, values = find_names(loaded, self.imported, is_loaded=True)
        others = (
            {name for one in loaded for name in _find_bound(one)} | self.imported | self._globals
        )
        mentioned = {
            name for one in pieces.values() for name in f"{one.calls} {one.values}".split()
        }
        named = calls | values | others | (_BUILTINS & mentioned)  # which it would hide there
        waiting = [*named]
        for name in waiting:  # which grows: what functions name that may run now
            if (piece := pieces.get(name)) is not None:
                new = {*piece.calls.split(), *piece.values.split()} - named
                named |= new
                waiting += new
        for block, mark, name in self._marks:
            is_of_tool = name == "run" or name.startswith(CHECK_PREFIXES)
            if not (name in named or is_of_tool or self._has_star):
                block[:] = [one for one in block if one is not mark]
        body = _hash([*flatten(loaded)[0], docs, sorted(self._evaluated)])
        return Piece(body, "", "", *_join(calls, values))

    def _is_plain(self, node: Function, *, is_class: bool) -> bool:
        if not is_class and node.name[:2] == node.name[-2:] == "__":
            return False
        return all(
            self._is_known(one, node.name) or self._only_wraps(one) for one in node.decorator_list
        )

    def _is_plain_class(self, node: ast.ClassDef) -> bool:
        return all(self._is_known(one, node.name) for one in node.decorator_list) and all(
            self._is_known(one.value, node.name) for one in node.keywords
        )

    def _is_own_base(self, base: ast.expr) -> bool:
        if isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name):
            home = self._imported.get(base.value.id, "")
            return base.attr in _PLAIN_BASES and home in sys.stdlib_module_names
        name = base.id if isinstance(base, ast.Name) else ""
        is_here = name in self._bound and name not in self.imported
        return is_here or name in _BUILTINS or name in _PLAIN_BASES

    def _is_known(self, decorator: ast.expr, name: str) -> bool:
        """Whether this decorator or metaclass only calls or marks what it takes."""
        match decorator:
            case ast.Call(func=inner, args=args, keywords=keywords):
                given = [*args, *(one.value for one in keywords)]
                return self._is_known(inner, name) and all(map(self._is_harmless, given))
            case ast.Name(id=used):
                if used in _PLAIN_BUILTINS:
                    return used not in self._bound
            case ast.Attribute(value=ast.Name(id=used), attr=attribute):
                if used == name:
                    return attribute in _ACCESSORS
                if self._find_home(decorator):
                    return True
        return self._find_origin(decorator) in _PLAIN_IMPORTS

    def _only_wraps(self, decorator: ast.expr) -> bool:
        """Whether this is a function of the module that defines a function that calls what it takes, returns that, and
        does nothing else."""
        name = decorator.id if isinstance(decorator, ast.Name) else ""
        match self.functions.get(name):
            case [
                ast.FunctionDef(
                    args=ast.arguments([], [ast.arg(taken)], None, [], [], None, []),
                    body=[
                        *texts,
                        ast.FunctionDef() | ast.AsyncFunctionDef() as inner,
                        ast.Return(ast.Name(left) as result),
                    ],
                    decorator_list=[],
                ) as function
            ] if left == inner.name and not {name, "*"} & self._rebound:
                allowed = [result, *(self._find_wrapped(one) for one in inner.decorator_list)]
                allowed += [found for one in ast.walk(inner) if (found := _find_harmless(one))]
                names = [
                    one
                    for one in ast.walk(function)
                    if isinstance(one, ast.Name) and one.id in (taken, left)
                ]
                return (
                    all(any(one is each for each in allowed) for one in names)
                    and None not in allowed
                    and all(map(_is_text, texts))
                    and not [*self._executed(inner)]
                    and not any(isinstance(one, SCOPES) for one in [*ast.walk(inner)][1:])
                )
        return False

    def _find_wrapped(self, decorator: ast.expr) -> ast.expr | None:
        match decorator:
            case ast.Call(func=inner, args=[wrapped]) if self._find_origin(inner) == _WRAPS:
                return wrapped
        return None

    def _find_origin(self, node: ast.expr) -> str:
        """What was imported under this name, with its module; or ""."""
        match node:
            case ast.Name(id=used):
                return self._imported.get(used, "")
            case ast.Attribute(value=ast.Name(id=used), attr=name):
                return f"{self._imported.get(used, '')}.{name}"
        return ""

    def _dispatches(self, decorators: list[ast.expr]) -> bool:
        return [*map(self._find_origin, decorators)] == [_DISPATCH]

    def _find_home(self, decorator: ast.expr) -> str:
        """The function of `singledispatch` at the top of this module at which this decorator registers; or ""."""
        match decorator:
            case ast.Call(func=inner):
                return self._find_home(inner)
            case ast.Attribute(value=ast.Name(id=home), attr="register"):
                kinds = [one.decorator_list for one in self.functions.get(home, ())]
                is_known = len(kinds) == 1 and self._dispatches(kinds[0])
                return home if is_known else ""
        return ""

    def _is_harmless(self, node: ast.expr) -> bool:
        """Whether evaluating it does nothing that other code could see, if it does not raise."""
        return all(
            isinstance(one, _HARMLESS)
            and not (isinstance(one, ast.Name) and one.id not in self._bound_so_far)
            for one in ast.walk(node)
        )

    def _can_raise(self, node: ast.expr) -> bool:
        parts = [*ast.walk(node)]
        is_of_python = all(
            one.id not in self._bound or self._is_of_python(one.id)
            for one in parts
            if isinstance(one, ast.Name)
        )
        kinds = _PLAIN_TYPES if is_of_python else _PLAIN_VALUES
        return not all(isinstance(one, kinds) for one in parts)

    def _is_of_python(self, name: str) -> bool:
        return self._imported.get(name, "").partition(".")[0] in sys.stdlib_module_names

    def _executed(self, node: Function) -> Iterator[ast.expr]:
        """What is evaluated where the function is defined, and not harmless. What is, and can raise, counts once for
        all functions, wherever it stands."""
        one = node.args
        given = [*one.defaults, *(default for default in one.kw_defaults if default is not None)]
        if not self._has_lazy_annotations:
            every = (*one.posonlyargs, *one.args, *one.kwonlyargs, one.vararg, one.kwarg)
            found = (each.annotation for each in every if each is not None)
            given += [each for each in (*found, node.returns) if each is not None]
        for each in given:
            if not self._is_harmless(each):
                yield each
            elif self._can_raise(each):
                self._evaluated.add(_hash(flatten([each])[0]))


def _read_piece(found: list[Function], imported: set[str], registered: set[str]) -> Piece:
    docs = [*_docstrings(found)]
    calls, values = find_names(found, imported)
    return Piece(
        _hash(flatten(found)[0]),
        _hash([*map(_read_header, found)]),
        _hash(docs) if docs else "",
        *_join(calls | registered, values),
    )


def _read_header(function: Function) -> list[object]:
    """What a call that does not reach the body depends on: not the values of defaults, nor annotations."""
    given = function.args
    names = [
        [one.arg for one in ones] for ones in (given.posonlyargs, given.args, given.kwonlyargs)
    ]
    rest = [one and one.arg for one in (given.vararg, given.kwarg)]
    defaults = [len(given.defaults), *(one is None for one in given.kw_defaults)]
    is_async = isinstance(function, ast.AsyncFunctionDef)
    decorators = flatten(function.decorator_list)[0]
    return [names, rest, defaults, is_async, _is_generator(function), decorators]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _find_harmless(node: ast.AST) -> ast.expr | None:
    """The function of a call, and that of which the name is asked for."""
    match node:
        case ast.Call(func=ast.Name() as found):
            return found
        case ast.Attribute(value=ast.Name() as found, attr="__name__" | "__qualname__"):
            return found
    return None


def _hash(values: Any) -> str:
    """Its characters are those of base64: the memory has three of them for each function that ran."""
    digest = blake2b(marshal.dumps(values, MARSHAL_FORMAT), digest_size=12).digest()
    return b2a_base64(digest, newline=False).decode()


def _join(calls: set[str], values: set[str]) -> tuple[str, str]:
    return " ".join(sorted(calls - values)), " ".join(sorted(values))


def _copy(node: _Node, **fields: object) -> _Node:
    kept = {name: getattr(node, name, None) for name in node._fields}
    return type(node)(**{**kept, **fields})


def _docstrings(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        for one in ast.walk(node):
            if isinstance(one, (ast.Module, ast.ClassDef, *_FUNCTIONS)):
                text = docstring_of(one.body)
                if text is not None:
                    yield text


def _find_bound(node: ast.AST) -> Iterator[str]:
    for one in (node,) if isinstance(node, _FUNCTIONS) else ast.walk(node):
        if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load):
            yield one.id
        elif isinstance(one, (ast.ClassDef, *_FUNCTIONS)):
            yield one.name
        elif isinstance(one, ast.alias):
            yield one.asname or one.name.partition(".")[0]


def _is_generator(function: Function) -> bool:
    """Whether calling it runs nothing of it: it yields."""
    waiting: list[ast.AST] = [*function.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, SCOPES):
            waiting += ast.iter_child_nodes(node)
    return False
