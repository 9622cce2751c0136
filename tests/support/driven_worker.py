"""A real worker driven through its supervisor: steps in, what came of them out. Always with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from discover_orch.execution.supervisor import Supervisor, WorkerDied, WorkerEnded, WorkerEvent
from discover_orch.model.parameter import ParamType, Scalar
from discover_orch.model.tool_events import ToolFinished, ToolOutput, ToolStarted
from discover_orch.worker.protocol import (
    Closed,
    Finish,
    Message,
    Prepare,
    RunStep,
    WireArgument,
)

TIME_LIMIT = 60.0
TEXT = ParamType(base=Scalar(kind="str"))


class DrivenWorker:
    """`run` a module as a step; what it printed, and how all ended, can be asked for."""

    def __init__(self, root: Path, *, raw_output: bool = False, **prepare: Any) -> None:
        self.root = root
        self.seen: list[WorkerEvent] = []
        self.steps = 0  # that were ordered: each has the number of its order, from 1
        self._looked = 0  # events that `until` has been through
        self.supervisor = Supervisor.start(raw_output=raw_output)
        needs = prepare.pop("needs", {})
        self.supervisor.send(
            Prepare(
                root=str(root),
                pythonpath=prepare.pop("pythonpath", (str(root),)),
                database=prepare.pop("database", "sqlite:///data.db"),
                orchconf=str(root / "orchconf.py") if (root / "orchconf.py").exists() else None,
                resources={name: tuple(given) for name, given in needs.items()},
                raw_output=raw_output,
                **prepare,
            )
        )

    def __enter__(self) -> DrivenWorker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        if not self.supervisor.is_over:
            self.supervisor.kill()
            self.supervisor.close(TIME_LIMIT)

    def send(
        self, module: str, *resources: str, path: str | None = None,
        extra: dict[str, str] | None = None, outputs: tuple[str, ...] = (),
        run: int = 0, key: str = "", **arguments: str | WireArgument,
    ) -> int:  # fmt: skip
        """Order a step; its number."""
        self.steps += 1
        self.supervisor.send(
            RunStep(
                module=module,
                name=module,
                path=path or module.replace(".", "/") + ".py",
                resources=resources,
                arguments={
                    name: one
                    if isinstance(one, WireArgument)
                    else WireArgument(texts=(one,), type=TEXT)
                    for name, one in arguments.items()
                },
                extra=extra or {},
                outputs=outputs,
                run=run,
                key=key,
            )
        )
        return self.steps

    def run(self, module: str, *resources: str, **more: Any) -> Any:
        """Run one step to its `ToolFinished`; the worker must survive it."""
        self.send(module, *resources, **more)
        return self.until(lambda event: isinstance(event, ToolFinished) and event.module == module)

    def until(self, is_it: Callable[[WorkerEvent], bool]) -> Any:
        """The first event that this is true of, after the one that was found last."""
        deadline = time.monotonic() + TIME_LIMIT
        while True:
            while self._looked < len(self.seen):
                event = self.seen[self._looked]
                self._looked += 1
                if is_it(event):
                    return event
            assert not self.supervisor.is_over, f"the worker is over: {self.seen[-5:]}"
            left = deadline - time.monotonic()
            assert left > 0, f"did not come within {TIME_LIMIT} s; last: {self.seen[-5:]}"
            self.seen += self.supervisor.events(left)

    def until_printed(self, text: str) -> None:
        """Wait for a tool to print this."""
        self.until(lambda event: isinstance(event, ToolOutput) and text in event.text)

    def finish(self) -> Closed:
        """Close it as a run does; it must end well."""
        self.supervisor.send(Finish())
        self.seen += self.supervisor.close(TIME_LIMIT)
        assert isinstance(self.seen[-1], WorkerEnded), self.seen[-5:]
        return next(event for event in self.seen if isinstance(event, Closed))

    def until_over(self) -> WorkerDied | WorkerEnded:
        """Wait for the worker's last word."""
        self.seen += self.supervisor.close(TIME_LIMIT)
        assert isinstance(self.seen[-1], WorkerDied | WorkerEnded)
        return self.seen[-1]

    def output(self, step: int | None = None, stream: str = "stdout") -> str:
        """All that a step, or the latest, wrote to a stream."""
        number, text = 0, ""
        for event in self.seen:
            number += isinstance(event, ToolStarted)
            if isinstance(event, ToolOutput) and event.stream == stream:
                text += event.text if number == (step or self.steps) else ""
        return text

    def messages(self, kind: type[Message]) -> list[Any]:
        return [event for event in self.seen if isinstance(event, kind)]
