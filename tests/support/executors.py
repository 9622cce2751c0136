"""The executors that the contract is about: how each is chosen, and what its project needs."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from tests.support.project_builder import Answer

POOLS = """
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context


def threads():
    return ThreadPoolExecutor(4)


def processes():
    return ProcessPoolExecutor(4)


def spawned():
    return ProcessPoolExecutor(2, mp_context=get_context("spawn"))


def loky():
    import loky

    return loky.ProcessPoolExecutor(4)


def broken():
    raise ValueError("no pool today")


def number():
    print("the factory prints this")
    return 7


def quits():
    raise SystemExit("no licence")


class Stuck(ThreadPoolExecutor):
    def shutdown(self, *args, **kwargs):
        raise OSError("it is stuck")
"""
WORDS = {
    "command": ("--executor", "command"),
    "threads": ("--executor", "pools:threads"),
    "processes": ("--executor", "pools:processes"),
    "loky": ("--executor", "pools:loky"),
    "dask": ("--executor", "dask"),
}
QUICK = ("command", "threads")
ALL = [
    *QUICK,
    *(pytest.param(one, marks=pytest.mark.slow) for one in WORDS if one not in QUICK),
]

#: A command that behaves as `srun` may: what it does is in the variable SRUN.
SRUN = """#!/bin/sh
printf '%s\\n' "$*" >>srun.log
shift
case "$SRUN" in
noise) echo "srun: job 4711 queued"; echo "srun: starting $*"; printf 'no newline'; exec "$@" ;;
waits) echo $$ >srun.pid; while [ ! -e srun.go ]; do sleep 0.05; done; exec "$@" ;;
closed) exec "$@" </dev/null ;;
echoes) echo "srun: starting $*"; exit 7 ;;
fails) echo "srun: error: invalid partition" >&2; echo "no such partition"; exit 7 ;;
greets) mkfifo srun.in; "$@" <srun.in & exec 4>srun.in; read -r line; kill -9 $!; exit 3 ;;
garbles) for mark; do :; done; printf '%s{garbage\\n' "$mark"; cat >/dev/null ;;
lost) exec 3<&0; "$@" <&3 & child=$!
    while [ ! -e srun.go ]; do sleep 0.05; done
    kill -9 $child; exit 3 ;;
*) exec "$@" ;;
esac
"""


def new_mark() -> str:
    """The name of an environment variable by which the processes of this test are found."""
    return f"MARK_OF_{os.urandom(8).hex()}"


def outcome(answer: Answer) -> dict[str, Any]:
    """What a run with `--json` did, without times, process ids and numbers of runs."""
    tools: dict[str, Any] = {}
    for event in answer.events:
        name = event.get("name")
        if name is None:
            continue
        one = tools.setdefault(name, {"output": {}, "ends": []})
        if event["event"] == "tool_output":
            stream = one["output"]
            stream[event["stream"]] = stream.get(event["stream"], "") + event["text"]
        elif event["event"] in ("tool_finished", "tool_retried"):
            error = event["error"]
            if error and error["kind"] == "timeout":  # how it ended then depends on the moment
                error = {"kind": "timeout", "message": ""}
            one["ends"].append(
                {
                    "event": event["event"],
                    "status": event.get("status", ""),
                    "error": error and {**error, "message": _plain(error["message"])},
                    "metrics": event.get("metrics"),
                    "attempt": event.get("attempt"),
                }
            )
    last = answer.events[-1]
    return {"code": answer.code, "status": last["status"], "counts": last["counts"], "tools": tools}


def _plain(message: str) -> str:
    return re.sub(r"\d+(\.\d+)? s\b", "N s", message)
