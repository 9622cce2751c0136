"""Where a hand-written orchestrator decides which of its steps run, and in which order, otherwise than by its lists
and the command line: `orch adopt` refuses that with its line, since orch would run all of them as they are listed.
Only text is read.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterator, Sequence

from msgspec import Struct

#: Calls that give all of what they are given, in the same order.
_WHOLE = frozenset({"dict", "enumerate", "iter", "list", "track", "tqdm", "tuple", "zip"})
_WHOLE_METHODS = frozenset({"copy", "get", "items", "keys", "track", "tqdm", "values"})
_Names = Collection[str]
_AS_LISTED = (
    "orch runs all steps of a list in its order: write the lists in that order, and leave this out"
)
_AGAIN = 'orch runs a step once in a run; ORCH = {"retries": 2} in its module tries it again where it fails'
#: A node that decides, what it decides, and what to do.
Decision = tuple[ast.stmt | ast.expr, str, str]


class Known(Struct, frozen=True, kw_only=True):
    """What names of the file stand for: the lists `names` themselves, all that `steps` are, what comes from the
    command line (`carried`), how `processes` of steps ended, and what functions of steps gave back (`results`).
    `bound` has what each name is bound to, anywhere. `changed` are names whose lists something changes in place.
    `orders` are the keys and names of the lists, as they are written. `is_step` finds a call of a step, `is_function`
    one in this process."""

    names: _Names
    steps: _Names
    carried: _Names
    processes: _Names
    results: _Names
    bound: Sequence[tuple[set[str], ast.expr]]
    changed: _Names
    orders: Sequence[Sequence[str]]
    is_step: Callable[[ast.Call], bool]
    is_function: Callable[[ast.Call], bool]


def find_decisions(tree: ast.Module, known: Known) -> Iterator[Decision]:
    for node in ast.walk(tree):
        match node:
            case ast.For() | ast.AsyncFor() if _runs(node, known):
                shown = ast.unparse(node.iter)
                if isinstance(node.iter, ast.Call) and _counts(node.iter):
                    yield node, f"`for ... in {shown}` runs the steps again", _AGAIN
                elif not _is_whole(node.iter, known, frozenset()):
                    yield (
                        node,
                        f"`{shown}` decides which steps run, and in which order",
                        _AS_LISTED,
                    )
                yield from _find_skips(node.body, known)
            case ast.While() if _runs(node, known):
                yield node, f"`while {ast.unparse(node.test)}` runs the steps again", _AGAIN
            case ast.If() if _is_by_result(node.test, known):
                if _leaves(node) or any(_runs(one, known) for one in (*node.body, *node.orelse)):
                    message = f"`if {ast.unparse(node.test)}` decides by what a step returns, which orch ignores"
                    yield (
                        node,
                        message,
                        "let the step raise an error where the next ones must not run",
                    )
            case ast.If() if _runs(node, known):
                if not _is_open(node.test, known) and not _runs_always(node, known):
                    message = f"`if {ast.unparse(node.test)}` decides whether a step runs"
                    yield node, message, _AS_LISTED


def _counts(call: ast.Call) -> bool:
    """Whether it gives numbers, as `range(3)` does, and not one for each step, as `range(len(STEPS))` does."""
    is_range = isinstance(call.func, ast.Name) and call.func.id in ("range", "trange")
    return is_range and not any(ast.unparse(one).startswith("len(") for one in call.args)


def _runs_always(node: ast.If, known: Known) -> bool:
    """Whether each branch runs the same step, such as another function of its module."""

    def find(body: Sequence[ast.stmt]) -> set[str]:
        calls = [one for statement in body for one in ast.walk(statement)]
        return {
            name
            for one in calls
            if isinstance(one, ast.Call) and known.is_step(one)
            for name in _names(one.func)
        }

    return bool(node.orelse) and find(node.body) == find(node.orelse) != set()


def _is_by_result(test: ast.expr, known: Known) -> bool:
    calls = (one for one in ast.walk(test) if isinstance(one, ast.Call))
    return bool(_names(test) & {*known.results}) or any(map(known.is_function, calls))


def _leaves(node: ast.If) -> bool:
    """Whether the condition ends something: a loop, a function or the program."""
    return any(
        isinstance(one, ast.Continue | ast.Break | ast.Return | ast.Raise)
        or (isinstance(one, ast.Call) and ast.unparse(one.func) in ("sys.exit", "exit", "quit"))
        for statement in (*node.body, *node.orelse)
        for one in ast.walk(statement)
    )


def _runs(node: ast.AST, known: Known) -> bool:
    return any(isinstance(one, ast.Call) and known.is_step(one) for one in ast.walk(node))


def _find_skips(body: Sequence[ast.stmt], known: Known) -> Iterator[Decision]:
    """Conditions in a loop over steps under which it goes on with the next step, or ends."""
    for statement in body:
        if not isinstance(statement, ast.If) or _runs(statement, known):
            continue
        if _is_by_result(statement.test, known):
            continue  # said of the condition itself
        leaves = any(isinstance(one, ast.Continue | ast.Break) for one in ast.walk(statement))
        if leaves and not _is_open(statement.test, known):
            message = f"`if {ast.unparse(statement.test)}` decides whether a step runs"
            yield statement, message, _AS_LISTED


def _is_open(test: ast.expr, known: Known) -> bool:
    """Whether the condition is the command line's, that a step has failed, that there is a step of this name, or that
    the file is run."""
    said = _names(test)
    if said & {*known.carried, *known.processes, "__name__"} or _reads_argv(test):
        return True
    if isinstance(test, ast.UnaryOp):
        return _is_open(test.operand, known)
    is_constant = any(
        isinstance(one, ast.Constant) and one.value is not None for one in ast.walk(test)
    )
    return (
        not is_constant
        and bool(said)
        and said <= {*known.steps, "callable", "isinstance", "str", "list"}
    )


def _is_whole(node: ast.expr, known: Known, seen: frozenset[str]) -> bool:
    """Whether this is all steps of a list in their order, or what the command line names."""

    def is_whole(*nodes: ast.expr) -> bool:
        return all(_is_whole(one, known, seen) for one in nodes)

    if _reads_argv(node):
        return True
    match node:
        case ast.Name(id=name):
            is_known = name in {*known.names, *known.carried} and name not in known.changed
            return is_known or _is_bound_whole(name, known, seen)
        case ast.Attribute(value=ast.Name(id="self"), attr=name):
            return _is_bound_whole(f"self.{name}", known, seen)
        case ast.Attribute(value=owner):
            return bool(_names(owner) & {*known.carried, *known.steps})
        case ast.Call(func=ast.Name(id=name), args=args):
            counted = [one.args[0] for one in args if isinstance(one, ast.Call) and one.args]
            if name in ("range", "trange"):
                return is_whole(*counted[:1])
            given = [one for one in args if _names(one)][:1]
            return name in _WHOLE and bool(given) and is_whole(*given)
        case ast.Call(func=ast.Attribute(value=owner, attr=name), args=args):
            is_bar = ast.unparse(node.func).startswith(("tqdm.", "rich."))
            return name in _WHOLE_METHODS and (is_whole(*args[:1]) if is_bar else is_whole(owner))
        case ast.Subscript(value=owner, slice=ast.Slice() as part):
            return is_whole(owner) and bool(_names(part) & {*known.carried})
        case ast.Subscript(value=owner):
            return is_whole(owner)
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            texts = [one.value for one in parts if isinstance(one, ast.Constant)]
            if texts:
                return texts in [*map(list, known.orders)]
            return bool(parts) and is_whole(*parts)
        case ast.ListComp(generators=parts) | ast.GeneratorExp(generators=parts):
            tests = [test for one in parts for test in one.ifs]
            return is_whole(*[one.iter for one in parts]) and all(
                _is_open(one, known) for one in tests
            )
        case ast.BoolOp(values=parts):
            return is_whole(*parts)
        case ast.IfExp(body=first, orelse=second) | ast.BinOp(left=first, right=second):
            return is_whole(first, second)
        case ast.Starred(value=inner) | ast.Await(value=inner):
            return is_whole(inner)
    return False


def _is_bound_whole(name: str, known: Known, seen: frozenset[str]) -> bool:
    """Whether all that the name is bound to is whole; a name that the file does not bind says nothing."""
    values = [value for targets, value in known.bound if name in targets]
    if name in known.changed:
        return False
    if name in seen or not values:
        return name in seen or name in known.steps
    return all(_is_whole(one, known, seen | {name}) for one in values)


def _reads_argv(node: ast.AST) -> bool:
    return "sys.argv" in ast.unparse(node)


def _names(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
