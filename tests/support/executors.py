"""What executors need: a Dask cluster, a command prefix, and what a run did as a value."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.project_builder import Answer, clean_environment
from tests.support.running import DEADLINE

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
                    "checks": event.get("checks"),
                }
            )
    last = answer.events[-1]
    return {"code": answer.code, "status": last["status"], "counts": last["counts"], "tools": tools}


def _plain(message: str) -> str:
    return re.sub(r"\d+(\.\d+)? s\b", "N s", message)


class Cluster:
    """A scheduler and workers, each a process of its own."""

    def __init__(self, folder: Path, mark: str) -> None:
        self._folder, self._env = folder, clean_environment(**{mark: "1"})
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self.scheduler = self._start(
            "distributed.cli.dask_scheduler",
            *("--host", "127.0.0.1", "--port", self.address.rpartition(":")[2], "--no-dashboard"),
        )
        self.workers: list[subprocess.Popen[bytes]] = []

    def add_worker(self, threads: int = 1) -> None:
        words = (self.address, "--nthreads", str(threads), "--no-nanny", "--no-dashboard")
        where = ("--local-directory", str(self._folder))
        self.workers.append(self._start("distributed.cli.dask_worker", *words, *where))

    def _start(self, module: str, *words: str) -> subprocess.Popen[bytes]:
        code = f"from {module} import main; main()"
        null = subprocess.DEVNULL
        return subprocess.Popen(
            [sys.executable, "-c", code, *words], env=self._env, stdout=null, stderr=null
        )

    def close(self) -> None:
        for one in (*self.workers, self.scheduler):
            one.kill()
            one.wait()


@contextmanager
def dask_cluster(folder: Path, workers: int = 1, mark: str = "CLUSTER") -> Iterator[Cluster]:
    made = Cluster(folder, mark)
    try:
        for _ in range(workers):
            made.add_worker()
        if workers:
            from distributed import Client  # in the extra `dask`

            with Client(made.address, timeout=DEADLINE) as client:
                client.wait_for_workers(workers, timeout=DEADLINE)
        yield made
    finally:
        made.close()
