"""Opened once when first needed, closed once in reverse order, on every path."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from discover_orch.worker.connection import ResourceProblem
from discover_orch.worker.interrupts import Interrupts
from discover_orch.worker.resources import Resources

Log = list[str]


class Connection:
    """A driver of somebody's; counts."""

    autocommit = False

    def __init__(self, log: Log) -> None:
        self.log = log
        self.closed = False
        log.append("open conn")

    def commit(self) -> None:
        self.log.append("commit")

    def rollback(self) -> None:
        self.log.append("rollback")

    def close(self) -> None:
        self.closed = True
        self.log.append("close conn")


def make(
    functions: Mapping[str, Callable[..., Any]],
    *,
    root: Path | str = "/nowhere",
    database: str = "sqlite://",
    transaction: str = "tool",
    call: Any = None,
) -> Resources:
    conf = ModuleType("orchconf")
    needs = {}
    for name, function in functions.items():
        setattr(conf, name, function)
        needs[name] = tuple(inspect.signature(function).parameters)
    return Resources(
        root=str(root),
        database=database,
        transaction=transaction,
        needs={name: one for name, one in needs.items() if name != "get_connection"},
        has_connection="get_connection" in functions,
        load_conf=lambda: conf,
        call=call or Interrupts().call,
    )


def opener(log: Log, name: str, *, fails: str = "") -> Callable[..., Iterator[str]]:
    def resource() -> Iterator[str]:
        if fails == "open":
            raise OSError(name)
        log.append(f"open {name}")
        yield name.upper()
        log.append(f"close {name}")
        if fails == "close":
            raise OSError(name)

    return resource


def test_one_that_raises_on_closing_does_not_keep_the_others_open() -> None:
    log: Log = []
    resources = make(
        {name: opener(log, name, fails="close" if name in "ac" else "") for name in "abc"}
    )
    resources.open("abc")
    errors = resources.close()
    assert log == ["open a", "open b", "open c", "close c", "close b", "close a"]
    assert [(name, type(error)) for name, error in errors] == [("c", OSError), ("a", OSError)]


def test_what_was_open_before_one_that_fails_is_closed_once() -> None:
    log: Log = []
    resources = make({"a": opener(log, "a"), "b": opener(log, "b", fails="open")})
    for _ in range(2):
        with pytest.raises(OSError, match="b"):
            resources.open("ab")
    assert resources.close() == []
    assert log == ["open a", "close a"]


def test_async_resources_share_one_loop() -> None:
    log: Log = []

    async def agen() -> Any:
        import asyncio

        loop = asyncio.get_running_loop()
        log.append("open")
        yield loop
        assert asyncio.get_running_loop() is loop
        log.append("close")

    async def value() -> int:
        return 7

    interrupts = Interrupts()
    resources = make({"agen": agen, "value": value}, call=interrupts.call)
    loops = {id(resources.open(["agen"])["agen"]) for _ in range(2)}
    assert len(loops) == 1
    assert resources.open(["value"]) == {"value": 7}
    assert resources.close() == []
    interrupts.close()
    assert log == ["open", "close"]


def none_at_all() -> Iterator[int]:
    return
    yield 1


def twice() -> Iterator[int]:
    yield 1
    yield 2


def a(b: object) -> object:
    return b


def b(a: object) -> object:
    return a


def test_a_resource_that_cannot_be_opened_raises_a_sentence() -> None:
    resources = make({"none_at_all": none_at_all, "twice": twice, "a": a, "b": b})
    for names, sentence in (
        (["none_at_all"], "did not yield a value"),
        (["unknown"], "no resource unknown"),
        (["a"], "form a cycle: a -> b -> a"),
    ):
        with pytest.raises(ResourceProblem, match=sentence):
            resources.open(names)
    resources.open(["twice"])
    ((name, error),) = resources.close()
    assert (name, str(error)) == ("twice", "the resource twice yields more than once")


def test_a_generator_may_give_the_connection_and_closes_it_itself() -> None:
    log: Log = []

    def get_connection() -> Iterator[Connection]:
        conn = Connection(log)
        yield conn
        conn.close()

    resources = make({"get_connection": get_connection})
    resources.open(["conn"])
    resources.begin_transaction(["conn"])
    resources.end_transaction(keep=False)
    assert resources.close() == []
    assert log == ["open conn", "rollback", "close conn"]


def test_what_was_made_of_a_connection_that_a_tool_closed_is_made_anew() -> None:
    log: Log = []

    def repo(conn: Connection) -> Iterator[Connection]:
        log.append("open repo")
        yield conn
        log.append("close repo")

    resources = make(
        {"get_connection": lambda: Connection(log), "repo": repo, "other": opener(log, "other")}
    )
    first = resources.open(["other", "repo"])["repo"]
    first.close()
    second = resources.open(["repo"])["repo"]
    assert second is not first
    assert not second.closed
    resources.close()
    assert [line for line in log if line != "commit"] == [
        "open other", "open conn", "open repo", "close conn", "close repo", "open conn", "open repo",
        "close repo", "close conn", "close other",
    ]  # fmt: skip


def test_an_interrupt_after_the_yield_does_not_lose_what_was_opened() -> None:
    """The generator is suspended at its yield when the exception comes: it must be resumed."""
    log: Log = []
    interrupts = Interrupts()
    resources = make({"a": opener(log, "a")})

    def call(function: Any, /, *args: Any, **named: Any) -> Any:
        given = interrupts.call(function, *args, **named)
        if function is next and "close a" not in log:
            raise KeyboardInterrupt
        return given

    resources._call = call
    with pytest.raises(KeyboardInterrupt):
        resources.open(["a"])
    assert resources.close() == []
    assert log == ["open a", "close a"]


def test_what_was_opened_since_the_last_time_is_told_once() -> None:
    def given() -> int:
        return 1

    def other(given: int) -> int:
        return given

    resources = make({"given": given, "other": other})
    assert resources.drain_opened() == ()
    resources.open(["other"])
    assert resources.drain_opened() == ("given", "other")
    resources.open(["given", "other"])
    assert resources.drain_opened() == ()
    resources.close()
