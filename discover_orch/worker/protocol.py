"""What parent and worker say to each other: values, and one JSON line for each.

Orders go to the worker, messages come back. Both sides are of one version (the parent starts its worker
from its own package), so the lines carry no version. Text from the user's code is data here: nothing is
pickled, nothing is evaluated. This module opens no pipe.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from msgspec import Struct, field

from discover_orch.model.errors import Failure
from discover_orch.model.observation import Observation

TYPE_CHECKING = False  # `typing` costs 4 ms, and this is imported before anything can start
if TYPE_CHECKING:
    from typing import Any, Literal

    from discover_orch.model.tool import ParamType

    Stream = Literal["stdout", "stderr"]
    StepStatus = Literal["passed", "failed", "interrupted"]
else:
    Stream = StepStatus = str

INSIDE = "ORCH_INSIDE"  # set in the environment of tools: the root of the project that runs them
CHANNEL_LOST = 94  # exit code of a worker whose tool closed the pipes to the parent


class WireArgument(Struct, frozen=True, kw_only=True):
    """The value of one argument as texts, converted by the worker with the same `Param.convert`.

    `type` is a row made by `encode_type`.
    """

    texts: tuple[str, ...]
    type: list[object]


class WireResource(Struct, frozen=True, kw_only=True):
    """A resource of `orchconf.py` as read from source: its line and the arguments that it takes."""

    name: str
    line: int
    needs: tuple[str, ...] = ()


class Greet(Struct, frozen=True, kw_only=True):
    """Sent by the supervisor itself, before anything is known of the project.

    `mark` starts the line that ends a step's output in both pipes; empty where nothing is captured.
    `watches_death`: the process that started the worker did so from its main thread, so that the
    kernel's signal at the parent's death can be trusted.
    """

    mark: str
    parent: int
    watches_death: bool


class Preload(Struct, frozen=True, kw_only=True):
    """For a spare, before `Prepare`: import these modules, with their names of `from` imports.

    None of them is the project's. `pythonpath` is absolute and not yet put on `sys.path`: a module that
    would come from there when a tool runs must not have come from anywhere else.
    """

    root: str
    pythonpath: tuple[str, ...]
    modules: tuple[tuple[str, tuple[str, ...]], ...]


class Prepare(Struct, frozen=True, kw_only=True):
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
    resources: tuple[WireResource, ...] = ()
    raw_output: bool = False
    post_mortem: bool = False
    all_frames: bool = False
    observes: bool = False
    environment: Mapping[str, str] | None = None


class RunStep(Struct, frozen=True, kw_only=True):
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


class Terminal(Struct, frozen=True, kw_only=True):
    """The answer to `DebugStarted`: whether the worker has the terminal now."""

    granted: bool


class Finish(Struct, frozen=True, kw_only=True):
    """Close every resource, say `Closed`, and end."""


class StepStarted(Struct, frozen=True, kw_only=True):
    """The worker has begun this step."""

    step: int


class StepFinished(Struct, frozen=True, kw_only=True):
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


class Preloaded(Struct, frozen=True, kw_only=True):
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


class Declined(Struct, frozen=True, kw_only=True):
    """The order was not begun: a step failed or the run was interrupted since it was written."""

    step: int


class DebugStarted(Struct, frozen=True, kw_only=True):
    """The tool wants the terminal; the worker waits until the parent has handed it over."""

    step: int


class DebugEnded(Struct, frozen=True, kw_only=True):
    """The terminal can be taken back."""

    step: int


class Closed(Struct, frozen=True, kw_only=True):
    """All resources are closed. `errors` are of those that raised on closing; `threads` still run."""

    errors: tuple[Failure, ...] = ()
    threads: tuple[str, ...] = ()


Order = Greet | Preload | Prepare | RunStep | Terminal | Finish
Message = Preloaded | StepStarted | StepFinished | Declined | DebugStarted | DebugEnded | Closed

ORDERS: dict[str, type[Order]] = {
    "greet": Greet,
    "preload": Preload,
    "prepare": Prepare,
    "run": RunStep,
    "terminal": Terminal,
    "finish": Finish,
}
MESSAGES: dict[str, type[Message]] = {
    "preloaded": Preloaded,
    "started": StepStarted,
    "finished": StepFinished,
    "declined": Declined,
    "debug": DebugStarted,
    "debugged": DebugEnded,
    "closed": Closed,
}
_KINDS = {cls: kind for kind, cls in (ORDERS | MESSAGES).items()}


def encode_order(order: Order) -> bytes:
    """One line of JSON; paths that are no valid text survive as lone surrogates."""
    return _encode(order)


def decode_order(line: bytes) -> Order:
    order: Order = _decode(ORDERS, line)
    return order


def encode_message(message: Message) -> bytes:
    return _encode(message)


def decode_message(line: bytes) -> Message:
    """The value that `encode_message` wrote; ValueError for a line that is none."""
    message: Message = _decode(MESSAGES, line)
    return message


def encode_type(type: ParamType) -> list[object]:
    """A row of JSON kinds: [many, optional, kind, what the kind needs...]."""
    base: Any = type.base
    row: list[object]
    match base.__class__.__name__:  # the classes themselves are needed only where one is converted
        case "Scalar":
            row = ["scalar", base.kind]
        case "Choice":
            row = ["choice", list(base.values)]
        case _:
            row = ["enum", base.module, base.name, [list(member) for member in base.members]]
    return [type.many, type.optional, *row]


def decode_type(row: list[Any]) -> ParamType:
    """The type that `encode_type` wrote."""
    from discover_orch.model.tool import Choice, EnumChoice, ParamType, Scalar

    many, optional, kind, *rest = row
    base: Scalar | Choice | EnumChoice
    if kind == "scalar":
        base = Scalar(kind=rest[0])
    elif kind == "choice":
        base = Choice(values=tuple(rest[0]))
    else:
        members = tuple((name, text) for name, text in rest[2])
        base = EnumChoice(module=rest[0], name=rest[1], members=members)
    return ParamType(base=base, many=many, optional=optional)


# Fields that hold values themselves, or tuples of tuples: all others are written as they are.
_ROWS: dict[str, Callable[[Any], object]] = {
    "arguments": lambda many: {name: [one.texts, one.type] for name, one in many.items()},
    "extra": dict,
    "metrics": dict,
    "environment": lambda given: None if given is None else dict(given),
    "resources": lambda many: [
        one if isinstance(one, str) else [one.name, one.line, one.needs] for one in many
    ],
    "error": lambda one: None if one is None else _fields(one),
    "errors": lambda many: [_fields(one) for one in many],
    "seen": lambda one: _seen_row(one),
    "early": lambda one: _seen_row(one),
}
_VALUES: dict[str, Callable[[Any], object]] = {
    "arguments": lambda rows: {
        name: WireArgument(texts=tuple(texts), type=type) for name, (texts, type) in rows.items()
    },
    "resources": lambda rows: tuple(
        row if isinstance(row, str) else WireResource(name=row[0], line=row[1], needs=tuple(row[2]))
        for row in rows
    ),
    "error": lambda row: None if row is None else Failure(**row),
    "errors": lambda rows: tuple(Failure(**row) for row in rows),
    "loaded": lambda rows: tuple(tuple(row) for row in rows),
    "modules": lambda rows: tuple(
        tuple(tuple(one) if isinstance(one, list) else one for one in row) for row in rows
    ),
    "shadowed": tuple,
    "seen": lambda row: _read_seen(row),
    "early": lambda row: _read_seen(row),
    "opened": tuple,
    "pythonpath": tuple,
    "outputs": tuple,
    "notes": tuple,
    "threads": tuple,
}


def _seen_row(one: Any) -> dict[str, object] | None:
    return None if one is None else {n: v for n in one.__struct_fields__ if (v := getattr(one, n))}


def _read_seen(row: Any) -> Observation | None:
    return None if row is None else Observation(**{n: _tuples(v) for n, v in row.items()})


def _tuples(given: Any) -> Any:
    """Lists, and lists in them, as tuples; all else as it is."""
    if given.__class__ is not list:
        return given
    is_deep = given and given[0].__class__ is list
    return tuple(map(tuple, given)) if is_deep else tuple(given)


def _fields(one: Any) -> dict[str, object]:
    return {name: getattr(one, name) for name in one.__struct_fields__}


def _encode(one: Any) -> bytes:
    row: dict[str, object] = {"kind": _KINDS[one.__class__]}
    for name in one.__struct_fields__:
        given = getattr(one, name)
        row[name] = _ROWS[name](given) if name in _ROWS else given
    return json.dumps(row).encode() + b"\n"


def _decode(classes: Mapping[str, Any], line: bytes) -> Any:
    row = json.loads(line)
    if not isinstance(row, dict) or row.get("kind") not in classes:
        raise ValueError("not a line of the protocol")
    cls = classes[row.pop("kind")]
    return cls(**{n: _VALUES[n](given) if n in _VALUES else given for n, given in row.items()})
