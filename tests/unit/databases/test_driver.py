"""Listening to the methods of a class: what they do and give stays what it was."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from discover_orch.databases.driver import Driver
from tests.support.driver_listener import RecordingListener


class Cursor:
    def execute(self, query: str, params: object = None, *, prepare: bool = False) -> object:
        """Run it."""
        if query == "bad":
            raise ValueError(query)
        return self, query, params, prepare


def make_driver(
    observe_statements: Callable[..., None], *, after: bool = False
) -> tuple[type[Any], Driver]:
    """A class to listen to, and the driver that does."""
    owner = type("Cursor", (), {**vars(Cursor)})

    class Fake(Driver):
        wrapped = 0

        def _wrap_methods(self) -> None:
            self.wrapped += 1
            self._wrap(owner, "execute", observe_statements, after=after)
            self._wrap(owner, "missing", observe_statements)

    return owner, Fake()


def listen_well(listener: Any, cursor: Any, query: str, params: Any = None, **_: Any) -> None:
    listener.on_statement(query)


def listen_badly(listener: Any, *_: Any, **__: Any) -> None:
    raise RuntimeError("no")


CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (("x",), {}),
    (("x", (1,)), {"prepare": True}),
    ((), {"query": "x", "params": (1,)}),
    (("bad",), {}),
    ((), {}),
    (("x",), {"nonsense": 1}),
    ((1, 2, 3, 4), {}),
]


def outcome(method: Callable[..., Any], *args: Any, **named: Any) -> object:
    try:
        return method(*args, **named)
    except Exception as error:
        return type(error), str(error).partition(".")[2] or str(error)


@pytest.mark.parametrize(("args", "named"), CALLS)
@pytest.mark.parametrize("observe_statements", [listen_well, listen_badly])
@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("is_called_from", [True, False])
def test_a_wrapped_method_returns_and_raises_as_before(
    args: tuple[Any, ...],
    named: dict[str, Any],
    observe_statements: Callable[..., None],
    after: bool,
    is_called_from: bool,
) -> None:
    owner, driver = make_driver(observe_statements, after=after)
    driver.reads_caller_variables = is_called_from
    cursor = owner()
    expected = outcome(cursor.execute, *args, **named)
    driver.attach(RecordingListener(cursor))
    assert outcome(cursor.execute, *args, **named) == expected


def test_a_method_keeps_its_name_and_its_signature() -> None:
    owner, driver = make_driver(listen_well)
    driver.attach(RecordingListener(None))
    assert owner.execute.__name__ == "execute"
    assert owner.execute.__doc__ == "Run it."
    assert inspect.signature(owner.execute) == inspect.signature(Cursor.execute)
    assert not hasattr(owner, "missing")


def test_methods_are_wrapped_once_and_the_latest_listener_is_told() -> None:
    owner, driver = make_driver(listen_well)
    first, second = RecordingListener(None), RecordingListener(None)
    driver.attach(first)
    driver.attach(second)
    owner().execute("x")
    driver.listener = None
    owner().execute("y")
    assert (first.texts, second.texts) == ([], ["x"])
    assert driver.wrapped == 1  # type: ignore[attr-defined]


def test_unknown_arguments_and_errors_are_reported() -> None:
    owner, driver = make_driver(listen_badly)
    listener = RecordingListener(None)
    driver.attach(listener)
    owner().execute("x")
    assert listener.others == ["unknown"]
    with pytest.raises(ValueError, match="bad"):
        owner().execute("bad")
    assert listener.others == ["unknown", "unknown", "error"]


def test_an_interrupt_in_the_listener_reaches_the_tool() -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    owner, driver = make_driver(interrupt)
    driver.attach(RecordingListener(None))
    with pytest.raises(KeyboardInterrupt):
        owner().execute("x")


def test_a_method_that_reads_its_callers_variables_finds_them() -> None:
    seen: list[tuple[set[str], str]] = []

    class Looker:
        def look(self, one: object) -> None:
            frame = inspect.currentframe()
            assert frame is not None
            assert frame.f_back is not None
            seen.append(({*frame.f_back.f_locals}, frame.f_back.f_globals["__name__"]))

    class Fake(Driver):
        reads_caller_variables = True

        def _wrap_methods(self) -> None:
            self._wrap(Looker, "look", listen_well)

    driver = Fake()
    driver.attach(RecordingListener(None))
    mine = Looker()
    mine.look("x")
    found, where = seen[0]
    assert {"mine", "driver", "seen"} <= found
    assert not {"args", "named", "original", "call"} & found
    assert where == __name__
