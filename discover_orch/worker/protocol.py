"""What the parent and a worker send each other: orders one way, messages the other, one JSON line each.

Both sides have the same version (the parent starts the worker from its own package), so a line carries no
version number. Nothing is pickled and nothing is evaluated. This module opens no pipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from math import isfinite
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from discover_orch.model.errors import Failure
from discover_orch.model.observation import Observation
from discover_orch.model.tool import ParamType

Stream = Literal["stdout", "stderr"]
StepStatus = Literal["passed", "failed", "interrupted"]

INSIDE = "ORCH_INSIDE"  # set in the environment of tools: the root of the project that runs them
CHANNEL_LOST = 94  # exit code of a worker whose tool closed the pipes to the parent


class WireArgument(Struct, frozen=True, kw_only=True):
    """The value of one argument as typed; the worker converts it with `Param.convert`."""

    texts: tuple[str, ...]
    type: ParamType


class Greet(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Sent by the supervisor itself, before anything is known of the project.

    `mark` starts the line that ends a step's output in both pipes; empty where nothing is captured.
    `watches_death`: the process that started the worker did so from its main thread, so that the
    kernel's signal at the parent's death can be trusted.
    """

    mark: str
    parent: int
    watches_death: bool


class Preload(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """For a spare, before `Prepare`: import these modules, with their names of `from` imports.

    None of them is the project's. `pythonpath` is absolute and not yet put on `sys.path`: a module that
    would come from there when a tool runs must not have come from anywhere else.
    """

    root: str
    pythonpath: tuple[str, ...]
    modules: tuple[tuple[str, tuple[str, ...]], ...]


class Prepare(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """The order before all steps: everything that holds for each of this worker. Paths are absolute.

    `environment` replaces the worker's own where it is given (a spare may be older than it). `observes`:
    each step tells what it was seen to do.
    """

    root: str
    pythonpath: tuple[str, ...]
    database: str
    transaction: str = "tool"
    orchconf: str | None = None
    has_connection: bool = False
    resources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    raw_output: bool = False
    post_mortem: bool = False
    all_frames: bool = False
    observes: bool = False
    environment: Mapping[str, str] | None = None


class RunStep(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Run one tool, whose `outputs` must be there at its end. `failures` is how many failed steps of this
    worker the parent knew of.

    The parent may send an order ahead while a step runs; where the worker has seen more failures by
    then, it declines, and the parent decides anew. `Supervisor.failures` is the number to give.
    """

    step: int
    module: str
    name: str
    path: str
    arguments: Mapping[str, WireArgument] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)
    resources: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    failures: int = 0


class Terminal(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """The answer to `DebugStarted`: whether the worker has the terminal now."""

    granted: bool


class Finish(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Close every resource, say `Closed`, and end."""


class StepStarted(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """The worker has begun this step."""

    step: int


class StepFinished(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """The step has ended and its transaction with it; `duration` in seconds.

    `notes` are sentences for the user (it committed by itself; its connection is in autocommit mode).
    `loaded` are the project modules that this step loaded first: (module, path relative to the root,
    hash of the source bytes). `seen` is what it was seen to do besides, None where nobody looked. `early` is
    the part of it that was done while these were loaded, and the resources `opened`: later steps of this
    worker, which find them there, rest on it too; None where there was nothing.
    """

    step: int
    status: StepStatus
    duration: float
    error: Failure | None = None
    metrics: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    loaded: tuple[tuple[str, str, str], ...] = ()
    seen: Observation | None = None
    early: Observation | None = None
    opened: tuple[str, ...] = ()


class Preloaded(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """What a spare has imported: (module, seconds, what went wrong or ""). `shadowed` are modules that came
    from elsewhere though the project has a file of that name, so that the spare is no use."""

    modules: tuple[tuple[str, float, str], ...]
    shadowed: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What went wrong, or nothing. A module that is not installed is a choice that some tools leave open."""
        if self.shadowed:
            names = ", ".join(self.shadowed)
            return (
                f"starting from nothing: the project has modules named as installed ones: {names}"
            )
        failed = [
            f"{name} ({wrong})"
            for name, _, wrong in self.modules
            if wrong and not wrong.startswith("ModuleNotFoundError")
        ]
        return f"could not be imported ahead: {', '.join(failed)}" if failed else ""


class Declined(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """The order was not begun: a step failed or the run was interrupted since it was written."""

    step: int


class DebugStarted(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """The tool wants the terminal; the worker waits until the parent has handed it over."""

    step: int


class DebugEnded(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """The terminal can be taken back."""

    step: int


class Closed(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """All resources are closed. `errors` are of those that raised on closing; `threads` still run."""

    errors: tuple[Failure, ...] = ()
    threads: tuple[str, ...] = ()


Order = Greet | Preload | Prepare | RunStep | Terminal | Finish
Message = Preloaded | StepStarted | StepFinished | Declined | DebugStarted | DebugEnded | Closed

#: How the line of a `RunStep` begins, so that it can be recognised without decoding it.
RUN_STEP_PREFIX = b'{"type":"RunStep"'

_encoder = msgspec.json.Encoder()


def encode_order(order: Order) -> bytes:
    """One line of JSON, with its newline."""
    return _encode(order)


def encode_message(message: Message) -> bytes:
    """One line of JSON, with its newline."""
    if isinstance(message, StepFinished) and not all(map(_is_json, message.metrics.values())):
        return _encode_loosely(message)
    return _encode(message)


def decode_order(line: bytes) -> Order:
    """The value that `encode_order` wrote; ValueError for any other line."""
    order: Order = _decode(line, _order_decoder())
    return order


def decode_message(line: bytes) -> Message:
    """The value that `encode_message` wrote; ValueError for any other line."""
    message: Message = _decode(line, _message_decoder())
    return message


@cache  # each side needs only one of the two decoders
def _order_decoder() -> msgspec.json.Decoder[Order]:
    return msgspec.json.Decoder(Order)


@cache
def _message_decoder() -> msgspec.json.Decoder[Message]:
    return msgspec.json.Decoder(Message)


def _is_json(metric: object) -> bool:
    """msgspec would write NaN and infinity as null."""
    return not isinstance(metric, float) or isfinite(metric)


def _encode(value: Order | Message) -> bytes:
    try:
        return _encoder.encode(value) + b"\n"
    except UnicodeEncodeError:  # a path or an argument that is not valid UTF-8
        return _encode_loosely(value)


def _encode_loosely(value: Order | Message) -> bytes:
    """Python's own JSON also holds lone surrogates, NaN and infinity, which msgspec refuses or drops."""
    import json

    row = msgspec.to_builtins(value)
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"


def _decode(line: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    try:
        return decoder.decode(line)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:  # as `_encode_loosely` writes it, or no JSON at all
        import json

        return msgspec.convert(json.loads(line), decoder.type)
