"""What orch and the far side of a step send each other, whatever carries it: one JSON line each.

The far side is a process on any machine that supervises a worker. orch sends it a `Start` and `Control`s, and gets
`Said`s. Nothing is pickled and nothing is evaluated. No message has a password of a database.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from typing import Literal, TypeVar

from msgspec import Struct, field

from discover_orch import __version__
from discover_orch.model.json_text import decode
from discover_orch.state.process import read_boot
from discover_orch.worker.protocol import (
    Prepare,
    RunStep,
    WorkerSaid,
    build_decoder,
    encode_line,
    has_loose_metrics,
)

Far = TypeVar("Far", "Start", "Control", "Said")
Word = Literal["interrupt", "kill", "suspend", "resume"]


class Installation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What must be equal on both sides, and where it is: versions as text, `host` as the machine calls itself.

    `boot` is the id that the Linux kernel chose when it started: two machines can have the same name.
    """

    version: str
    python: str
    host: str = ""
    boot: str = ""
    pid: int = 0


class Start(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Carry out one attempt of a step.

    `run` and `attempt` are unique, also among runs of other projects. `near` is orch's own installation. `sources`
    are the files of the tool's code: path relative to the root → hash of the bytes. With `resolves_database`, the
    URL in `prepare` has no password: the far side uses its own, from its configuration or `DATABASE_URL`. `folder` is
    the `folder_identity` of the root.
    """

    run: str
    attempt: str
    near: Installation
    prepare: Prepare
    order: RunStep
    sources: Mapping[str, str] = field(default_factory=dict)
    takes_connection: bool = False
    resolves_database: bool = False
    folder: str = ""


class Control(Struct, frozen=True, kw_only=True, tag=True):
    """What is to happen to the worker of this attempt."""

    attempt: str
    word: Word


class Refused(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """The tool did not start and will not, for the reason that the sentence says."""

    message: str
    hint: str = ""


class Lost(Struct, frozen=True, kw_only=True, tag=True):
    """Nothing more will be heard of the attempt, which may have started; `sentence` follows the name of the tool."""

    sentence: str


class Ended(Struct, frozen=True, kw_only=True, tag=True):
    """All of this attempt has been said."""


FarEvent = Refused | Lost | Ended | WorkerSaid


class Said(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Events of an attempt, in order. `by` is the process."""

    attempt: str
    events: tuple[FarEvent, ...]
    by: str = ""


def is_last(event: FarEvent) -> bool:
    """Whether nothing of an attempt comes after it."""
    return isinstance(event, Ended | Lost | Refused)


def installation() -> Installation:
    """That of this process."""
    return Installation(
        version=__version__,
        python=f"{sys.version_info[0]}.{sys.version_info[1]}",
        host=platform.node(),
        boot=read_boot() or "",
        pid=os.getpid(),
    )


def folder_identity(path: str) -> str:
    """What tells a folder from another of the same path, such as a copy in a container."""
    found = os.stat(path)
    return f"{found.st_dev}:{found.st_ino}"


def is_another_machine(near: Installation, far: Installation) -> bool:
    return far.host != near.host or (far.boot != near.boot and "" not in (far.boot, near.boot))


def find_difference(near: Installation, far: Installation) -> str:
    """A sentence on the versions that differ, or ""."""
    if near.version != far.version:
        return f"discover-orch is {far.version} on {far.host} and {near.version} here"
    if near.python != far.python:
        return f"Python is {far.python} on {far.host} and {near.python} here"
    return ""


def encode_said(said: Said) -> bytes:
    return encode_line(said, is_loose=any(map(has_loose_metrics, said.events)))


def decode_far(line: bytes, kind: type[Far]) -> Far:
    """What `encode_line` or `encode_said` wrote; ValueError for any other line."""
    found: Far = decode(line, build_decoder(kind))
    return found
