"""The version of one file of a tool's code: of the whole module, or of those pieces of it that counted for a success.

A text: the meaning of the whole module; where pieces counted, then the version of all its pieces, a hash of those that
counted, the start of the hash of each, for the reason that is shown, and their tokens. The token of a function is its
name where its body counts, `name()` where only its parameters do, `name?` where only its being there does, and
`name"` for its docstrings; that of the loaded code is empty; `*` stands for which functions there are, in their order
and with their parameters, and `"` for all docstrings. A function that was not there has the hash `-`. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain

from discover_orch.model.encoding import short_hash
from discover_orch.model.pieces import ASKS, COMPUTES, HANDS_ON, READS_SOURCE, Piece, Pieces

LOADED, LISTED, DOCUMENTED, CALLED = "", "*", '"', "()"
_THERE, _NOT_THERE = "+", "-"
_SHOWN = 3  # characters of a hash: one edit in 260,000 has the same
_DOCSTRING = "__doc__"


def build_version(whole: str, pieces: Pieces, tokens: Iterable[str]) -> str:
    """`whole` is the meaning of the module. The loaded code counts always."""
    found = {token: _find_hash(pieces, token) for token in sorted({LOADED, *tokens})}
    digest = short_hash(repr(found).encode())
    shown = "".join(one[:_SHOWN].ljust(_SHOWN, _NOT_THERE) for one in found.values())
    return " ".join((whole, pieces.version, digest, shown, *found))


def version_now(then: str | None, whole: str, pieces: Pieces | None) -> str:
    """What the version `then` is now: `then` itself where all that counted is the same."""
    parts = (then or "").split(" ", 3)
    if then is None or len(parts) < 4 or pieces is None:
        return whole
    if parts[0] == whole and parts[1] == pieces.version:
        return then
    now = build_version(whole, pieces, tokens_of(then))
    return then if now.split(" ", 3)[2] == parts[2] else now


def whole_of(version: str) -> str:
    """The meaning of the whole module."""
    return version.partition(" ")[0]


def tokens_of(version: str) -> list[str]:
    """What counted of the module; empty where all of it did."""
    return [*_shown(version)]


def functions_of(version: str) -> list[str]:
    """The functions whose bodies counted."""
    return [one for one in tokens_of(version) if one and one[-1] not in '*")?']


def find_changed(then: str, now: str) -> list[str]:
    """The functions that differ between two versions of one module; empty where its loaded code does, or where it is
    not known."""
    before, after = _shown(then), _shown(now)
    names = {
        token.removesuffix(CALLED).removesuffix(DOCUMENTED).removesuffix(ASKS): None
        for token, one in before.items()
        if after.get(token, one) != one
    }
    return [] if LOADED in names or LISTED in names or not after else [*names]


def is_same(one: str, other: str) -> bool:
    """Whether what counted of a module at one success means the same at another, as far as it counted there."""
    before, after = _shown(one), _shown(other)
    if not before or not after:
        return whole_of(one) == whole_of(other)
    return before.items() <= after.items() or one.split(" ", 2)[:2] == other.split(" ", 2)[:2]


def _shown(version: str) -> dict[str, str]:
    _, _, _, shown, *tokens = version.split(" ") if " " in version else [""] * 4
    return {one: shown[place * _SHOWN :][:_SHOWN] for place, one in enumerate(tokens)}


def _find_hash(pieces: Pieces, token: str) -> str:
    if token == LOADED:
        return pieces.load.body
    if token == DOCUMENTED:
        return pieces.docs
    if token == LISTED:
        return pieces.listed
    if token.endswith(ASKS):
        return _THERE if token[:-1] in pieces.functions else _NOT_THERE
    if token.endswith(CALLED):
        piece = pieces.functions.get(token[: -len(CALLED)])
        return piece.header if piece else _NOT_THERE
    piece = pieces.functions.get(token.removesuffix(DOCUMENTED))
    if piece is None:
        return _NOT_THERE
    return piece.docs or _NOT_THERE if token.endswith(DOCUMENTED) else piece.body


# What counts.


def find_counted(
    modules: Mapping[str, Pieces], ran: Mapping[str, Collection[str]] | None
) -> dict[str, set[str]]:
    """The tokens of each of these modules, by path, where these functions ran; None where any may have. Where code
    that counts reads source text, all of each module counts, docstrings too.

    What code that counts calls, and did not run, counts by its parameters; what it mentions otherwise counts as a
    whole, and with it all that such a function mentions: it may have been compiled, or sent elsewhere."""
    counting = _Counting(modules)
    if ran is None:
        counting.add_everywhere(LISTED)
        ran = {path: one.functions.keys() for path, one in modules.items()}
    return counting.count(ran)


class _Counting:
    def __init__(self, modules: Mapping[str, Pieces]) -> None:
        self._modules = modules
        self._tokens: dict[str, set[str]] = {path: set() for path in modules}
        self._asked: set[str] = set()
        self._aliases: dict[str, set[str]] = {}
        for one in modules.values():
            for name, old in one.aliases.items():
                self._aliases.setdefault(name, set()).add(old)
        for path, one in modules.items():
            if "__getattr__." in one.loaded:  # it is called for names that are missing
                self._tokens[path].add(LISTED)
        self._handed: set[tuple[str, str]] = set()
        self._given: set[str] = set()  # modules that somebody gets
        self._waiting: list[tuple[str, str]] = []
        self._names: dict[str, list[tuple[str, str]]] = {}
        for path, one in modules.items():
            for name in one.functions:
                for part in {name.rpartition(".")[2], name.partition(".")[0]}:
                    self._names.setdefault(part, []).append((path, name))

    def count(self, ran: Mapping[str, Collection[str]]) -> dict[str, set[str]]:
        found: list[tuple[str, Piece]] = [(path, one.load) for path, one in self._modules.items()]
        for path, names in ran.items():
            if path in self._modules:
                functions = self._modules[path].functions
                known = [name for name in names if name in functions]
                self._tokens[path].update(known)
                found += [(path, functions[name]) for name in known]
        for path, piece in found:
            self._note(path, piece, is_handed=False)
        while self._waiting:
            path, name = self._waiting.pop()
            self._note(path, self._modules[path].functions[name], is_handed=True)
        for name in self._asked:
            self._add_asked(name)
        return {
            path: {one for one in found if not _is_in_other(one, found)}
            for path, found in self._tokens.items()
        }

    def _note(self, path: str, piece: Piece, *, is_handed: bool) -> None:
        """What this piece mentions."""
        calls, values = piece.calls.split(), piece.values.split()
        for name, is_value in chain(
            ((one, is_handed) for one in calls), ((one, True) for one in values)
        ):
            if name == READS_SOURCE:
                for known, module in self._modules.items():
                    self._tokens[known].update((LISTED, DOCUMENTED, *module.functions))
            elif name == COMPUTES:
                self.add_everywhere(LISTED)
            elif name == _DOCSTRING:
                self.add_everywhere(DOCUMENTED)
            elif ASKS in name:
                self._asked.add(name)
            elif name[0] == HANDS_ON:
                for known in self._find_own(name[1:]):
                    self._add_module(known)
            else:
                for known in self._find_own(name):
                    self._add_named(known, is_value=is_value)

    def _find_own(self, name: str) -> Iterable[str]:
        """The name, and what was imported under it."""
        found = [name]
        for one in found:  # which grows
            found += self._aliases.get(one, set()).difference(found)
        return found

    def add_everywhere(self, token: str) -> None:
        for one in self._tokens.values():
            one.add(token)

    def _add_named(self, name: str, *, is_value: bool) -> None:
        for path, function in self._names.get(name, ()):
            is_class = function.partition(".")[0] == name != function.rpartition(".")[2]
            if not is_value:
                if not is_class:
                    self._tokens[path].add(function + CALLED)
            elif (path, function) not in self._handed:
                self._handed.add((path, function))
                self._tokens[path].update((function, function + DOCUMENTED))
                self._waiting.append((path, function))

    def _add_module(self, name: str) -> None:
        """Somebody gets this module, and all that is in it or that it imports."""
        for path, one in self._modules.items():
            if _module_name(path) == name and path not in self._given:
                self._given.add(path)
                self._tokens[path].update((LISTED, DOCUMENTED))
                for function in one.functions:
                    self._add_named(function.rpartition(".")[2], is_value=True)
                for known in one.load.calls.split():
                    imported = known.rpartition(ASKS)[2]
                    self._add_named(imported, is_value=True)
                    self._add_module(imported)

    def _add_asked(self, asked: str) -> None:
        """A function that is asked for counts by being there or not."""
        module, _, name = asked.partition(ASKS)
        known = {*self._find_own(module)}
        for path in self._modules:
            if not module or _module_name(path) in known:
                self._tokens[path].add(name + ASKS)


def _is_in_other(token: str, found: Collection[str]) -> bool:
    """Whether another token says as much of the same function, and more."""
    if token.endswith(ASKS):
        return token[:-1] in found or token[:-1] + CALLED in found
    return token.endswith(CALLED) and token[:-2] in found


def _module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").rpartition("/")[2]


def union(versions: Iterable[str | None]) -> Iterator[str]:
    """The tokens of all these versions."""
    return chain.from_iterable(tokens_of(one) for one in versions if one)
