"""Runs tools in the process of a test. The fixtures of the pytest plugin `discover_orch_pytest` are made of it.

Targets and arguments go in; what `run()` returned comes out. `tested_project` runs tools, `resources` opens what they
take and the database of a test, and `tables` fills it. Unlike a run, it loads the user's code into this process, keeps
no history and observes nothing. The plugin and users import this module, for `OrchRun` and `OrchTables`, the types of
the fixtures, and `tested_project`.
"""

from __future__ import annotations

# Type checkers take it for True. A test imports this file for its types alone.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Protocol

    class DataFrame(Protocol):
        """What pandas and polars have in common as far as it is needed here."""

        @property
        def columns(self) -> Any: ...

    class OrchRun(Protocol):
        """The fixture `orch_run`: `orch_run("parse", since="2024-01-31")`."""

        def __call__(self, *targets: str, **arguments: Any) -> Any: ...

    class OrchTables(Protocol):
        """The fixture `orch_tables`: `orch_tables(raw=[{"id": 1}, {"id": 2}])`."""

        def __call__(self, **tables: Iterable[Mapping[str, object]] | DataFrame) -> None: ...

else:
    OrchRun = OrchTables = DataFrame = object

__all__ = ["DataFrame", "OrchRun", "OrchTables"]
