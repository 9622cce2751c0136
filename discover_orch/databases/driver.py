"""How orch sees the statements that a tool sends through a database driver: it wraps the driver's methods.

Methods of classes are wrapped, because connections have no attributes of their own to replace. A wrapped
method does what it did before; an error in orch's part never reaches the tool. This module knows no driver.
"""

from __future__ import annotations

import functools
import sys

from discover_orch.databases.catalog import Catalog
from discover_orch.databases.effect import Effect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType
    from typing import Any, Protocol

    class Listener(Protocol):
        """Receives what the tool does on `conn`, and on other connections of the same driver."""

        conn: Any
        defers_commits: bool  # orch owns the transaction on `conn`

        def on_statement(self, text: str, /) -> None: ...
        def on_effect(self, effect: Effect, /) -> None:
            """A method did what a statement would have done."""

        def on_files(self, paths: Iterable[str], /, *, is_written: bool) -> None: ...
        def on_commit(self, conn: Any, /) -> None: ...
        def on_error(self, *, is_statement: bool) -> None:
            """The latest call raised. If it `is_statement`, it had run the latest statement, once."""

        def on_other_connection(self) -> None: ...
        def on_unknown(self) -> None:
            """A call whose effect orch cannot tell."""


class Driver:
    """Base of the drivers. `listener`, if there is one, receives all calls."""

    dialect = ""
    reads_caller_variables = False  # DuckDB looks for unknown names among the caller's variables

    def __init__(self) -> None:
        self.listener: Listener | None = None
        self._is_wrapped = False

    def attach(self, listener: Listener) -> None:
        """Send all calls to this listener from now on, and to no other."""
        self.listener = listener
        if not self._is_wrapped:
            self._is_wrapped = True
            self._wrap_methods()

    def read_catalog(self, conn: Any) -> Catalog:
        """What is in the database now, as this connection sees it; raises whatever the driver raises."""
        raise NotImplementedError

    def find_file(self, conn: Any) -> str:
        """The absolute path of the connection's database file; "" where it is none."""
        return ""

    def _wrap_methods(self) -> None:
        raise NotImplementedError

    def _wrap(
        self,
        owner: Any,
        name: str,
        report: Callable[..., None],
        *,
        after: bool = False,
        is_statement: bool = False,
    ) -> None:
        """Have `report` called with the listener and the arguments of each call, before it or after it."""
        original = vars(owner).get(name)
        if original is None:
            return

        @functools.wraps(original)
        def wrapper(*args: Any, **named: Any) -> Any:
            call = functools.partial(original, *args, **named)
            if not after:
                self._notify(report, args, named)
            try:
                is_plain = not self.reads_caller_variables
                result = call() if is_plain else call_from(sys._getframe(1), call)
            except BaseException:
                if self.listener is not None:
                    self.listener.on_error(is_statement=is_statement)
                raise
            if after:
                self._notify(report, args, named)
            return result

        setattr(owner, name, wrapper)

    def _notify(
        self, report: Callable[..., None], args: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        listener = self.listener
        if listener is not None:
            try:
                report(listener, *args, **named)
            except Exception:  # the arguments are not those that orch knows
                listener.on_unknown()


_CALL = compile("__orch_call__()", __file__, "eval")


def call_from(caller: FrameType, call: Callable[[], Any]) -> Any:
    """Call with the caller's variables in scope, as if orch had not wrapped the method."""
    return eval(_CALL, caller.f_globals, {**caller.f_locals, "__orch_call__": call})
