"""How a driver is listened to: by its classes, since connections can be told nothing.

In: a class and the names of its methods. Out: calls on a `Note`, as a tool calls them. What a method does and gives
is as before, and what goes wrong in listening is kept from the tool. Knows no driver itself.
"""

from __future__ import annotations

import functools
import sys

from discover_orch.databases.catalog import Catalog
from discover_orch.databases.sql_effects import Effect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType
    from typing import Any, Protocol

    class Note(Protocol):
        """Takes what is heard of one call: a text, or what else it does. `conn` is the connection that is listened to;
        `aside` is told of calls on another one, `failed` of what was not carried out."""

        conn: Any

        def text(self, text: str, /) -> None: ...
        def effect(self, effect: Effect, /) -> None: ...
        def files(self, paths: Iterable[str], /, *, is_written: bool) -> None: ...
        def commit(self) -> None: ...
        def failed(self) -> None: ...
        def aside(self) -> None: ...
        def stranger(self) -> None: ...


class Driver:
    """One that is known. `note` is who listens now."""

    dialect = ""
    looks_at_callers = False  # as DuckDB does, for variables

    def __init__(self) -> None:
        self.note: Note | None = None
        self._is_heard = False

    def hear(self, note: Note) -> None:
        self.note = note
        if not self._is_heard:
            self._is_heard = True
            self._wrap_all()

    def ask(self, conn: Any) -> Catalog:
        """What there is in the database now, as this connection sees it; raises whatever the driver does."""
        raise AssertionError(conn)

    def find_file(self, conn: Any) -> str:
        """The absolute path of the file that the connection is to; "" where it is none."""
        return ""

    def _wrap_all(self) -> None:
        raise AssertionError

    def _wrap(
        self, owner: Any, name: str, listen: Callable[..., None], *, after: bool = False
    ) -> None:
        """Have `listen` called with the arguments of each call, before it or after it."""
        original = vars(owner).get(name)
        if original is None:
            return

        @functools.wraps(original)
        def heard(*args: Any, **named: Any) -> Any:
            call = functools.partial(original, *args, **named)
            if not after:
                self._listen(listen, args, named)
            try:
                given = call() if not self.looks_at_callers else _call_from(sys._getframe(1), call)
            except BaseException:
                if self.note is not None:
                    self.note.failed()
                raise
            if after:
                self._listen(listen, args, named)
            return given

        setattr(owner, name, heard)

    def _listen(
        self, listen: Callable[..., None], args: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        note = self.note
        if note is not None:
            try:
                listen(note, *args, **named)
            except Exception:  # called in a way that is not known
                note.stranger()


_CALL = compile("__orch_call__()", __file__, "eval")


def _call_from(caller: FrameType, call: Callable[[], Any]) -> Any:
    """Call it with the caller's variables around it, as if nobody stood between: DuckDB takes a name that is no
    table for a variable there."""
    return eval(_CALL, caller.f_globals, {**caller.f_locals, "__orch_call__": call})
