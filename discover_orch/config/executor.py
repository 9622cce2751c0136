"""The settings that say where tools run: `executor` and `[tool.orch.command]`."""

from __future__ import annotations

import os

import msgspec
from msgspec import Struct

from discover_orch.config.setting_values import (
    InvalidSetting,
    RawSetting,
    SettingReader,
    Texts,
    printable,
    typed,
)
from discover_orch.model.errors import nearest

DASK = "dask="  # the address of the scheduler follows
WORDS = ("local", DASK, "command")
#: Programs that run a command on the machine on which they are started.
LOCAL_PROGRAMS = frozenset(
    {
        *("chrt", "env", "ionice", "nice", "nohup", "numactl", "perf", "prlimit", "setsid"),
        *("stdbuf", "strace", "taskset", "time", "timeout"),
    }
)


class Command(Struct, frozen=True, kw_only=True):
    """`[tool.orch.command]`: the words of `prefix` and of `python`. `local` says whether the prefix runs tools on this
    machine; None if the user does not say."""

    prefix: Texts = ()
    python: Texts = ()
    local: bool | None = None

    @property
    def is_remote(self) -> bool:
        """Whether tools may run on another machine."""
        if not self.prefix or self.local is not None:
            return bool(self.prefix) and not self.local
        return os.path.basename(self.prefix[0]) not in LOCAL_PROGRAMS


def read_executor(given: RawSetting) -> str:
    executor = str(typed(given, "text")).strip()
    if not is_executor(executor):
        message = f'{given.name} = "{printable(executor)}" is not an executor'
        raise InvalidSetting(given, message, executor_hint(executor))
    return executor


def is_executor(word: str) -> bool:
    """Whether it has the form of one."""
    return word in ("local", "command") or bool(dask_address(word))


def dask_address(executor: str) -> str:
    """The address of the Dask scheduler; "" for another executor."""
    return executor.removeprefix(DASK) if executor.startswith(DASK) else ""


def executor_hint(word: str) -> str:
    if word in ("dask", DASK):
        return f'add the address of the scheduler: "{DASK}tcp://HOST:8786"'
    if guess := nearest(word.partition("=")[0], ("local", "dask", "command")):
        return f'did you mean "{DASK}ADDRESS"?' if guess == "dask" else f'did you mean "{guess}"?'
    return f'use "local", "{DASK}ADDRESS" or "command"'


def read_command(reader: SettingReader, given: RawSetting) -> Command:
    rules = {
        "prefix": _read_words,
        "python": _read_words,
        "local": lambda entry: typed(entry, "flag"),
    }
    return msgspec.convert(reader.read_known(given, rules), Command)


def _read_words(given: RawSetting) -> Texts:
    """Split as a shell does, or given as a list."""
    if isinstance(given.value, list):
        return tuple(typed(given, "texts"))
    import shlex  # few projects have a command

    try:
        return tuple(shlex.split(typed(given, "text")))
    except ValueError as error:
        message = f"{given.name} cannot be split into words: {str(error).lower()}"
        hint = "quote it as in a shell, or write a list of words"
        raise InvalidSetting(given, message, hint) from None
