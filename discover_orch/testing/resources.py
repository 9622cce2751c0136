"""What the tools of one test take by name: fixtures of pytest, the connection of the test, resources of `orchconf.py`.

A fixture wins over a resource of the same name. What was opened is closed at the end of the test, in reverse order.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from discover_orch.model.conventions import CONF_FILE, CONF_MODULE
from discover_orch.model.errors import UsageError
from discover_orch.source.facts import ConfFacts
from discover_orch.testing.connections import DatabaseOfTest
from discover_orch.worker.protocol import Prepare
from discover_orch.worker.resources import CONN, Resources


def load_conf(root: Path) -> ModuleType:
    """`orchconf.py`, loaded once for its path. A tool that imports it gets the same module."""
    path = str(root / CONF_FILE)
    known = sys.modules.get(CONF_MODULE)
    if known is not None and getattr(known, "__file__", None) == path:
        return known
    spec = importlib.util.spec_from_file_location(CONF_MODULE, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[CONF_MODULE] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[CONF_MODULE]
        raise
    return module


class OpenResources(Resources):
    """Opens what a tool takes when it first takes it, as a worker does, and closes it in `close`.

    `find_override` gives (the value of the pytest fixture of this name,), or None if there is no such fixture.
    `open_database` gives the database of the test, the same one at each call.
    """

    def __init__(
        self,
        root: Path,
        conf: ConfFacts | None,
        find_override: Callable[[str], tuple[Any] | None],
        open_database: Callable[[], DatabaseOfTest],
    ) -> None:
        needs = {
            one.name: tuple(need for need, has_default in one.needs if not has_default)
            for one in (conf.resources if conf else ())
        }
        super().__init__(
            Prepare(
                root=str(root), pythonpath=(), database="", transaction="none", resources=needs
            ),
            load_conf=lambda: load_conf(root),
            call=self.call,
        )
        self._find_override = find_override
        self._open_database = open_database
        self._runner: asyncio.Runner | None = None

    def _value(self, name: str, asking: tuple[str, ...]) -> Any:
        override = self._find_override(name)
        if override is not None:
            return override[0]
        if name == CONN:
            return self._open_database().conn
        if name in asking or name not in self._needs:
            circle = " -> ".join((*asking, name))
            what = f"resources form a cycle: {circle}" if asking else f"no resource is named {name}"
            raise UsageError.of("resource", what, f"write a fixture named {name}")
        return super()._value(name, asking)

    def begin_transaction(self, names: Iterable[str], **_: Any) -> None:
        """What a resource writes belongs to the test."""

    @contextlib.contextmanager
    def transaction(self) -> Iterator[DatabaseOfTest | None]:
        """The transaction of one tool that takes `conn`. A connection from a fixture is left to the test."""
        if self._find_override(CONN) is not None:
            yield None
            return
        with self._open_database().tool() as database:
            yield database

    def call(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
        """Calls the user's code, and awaits the result where it is awaitable: in one event loop for the test."""
        returned = function(*args, **named)
        return self._await(returned) if hasattr(returned, "__await__") else returned

    def close(self) -> list[tuple[str, BaseException]]:
        """Closes everything, also where closing one of them raises: then that is raised."""
        errors = super().close()
        if self._runner is not None:
            self._runner.close()
        for _, error in errors:
            raise error
        return []

    def _await(self, awaitable: Any) -> Any:
        if _is_in_loop():
            if hasattr(awaitable, "close"):
                awaitable.close()  # else Python warns that it was never awaited
            message = "orch_run cannot await an async tool or resource inside an async test"
            hint = "write the test with def in place of async def"
            raise UsageError.of("async-test", message, hint)

        async def wait() -> Any:
            return await awaitable

        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(wait())


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
