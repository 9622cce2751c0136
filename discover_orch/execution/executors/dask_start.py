"""Connects to a Dask cluster, or starts one on this machine, and refuses what would not work there."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from importlib.metadata import version

import msgspec
from distributed import Client
from distributed.comm.addressing import parse_address
from distributed.comm.registry import get_backend

from discover_orch.execution.executors import dask_worker
from discover_orch.execution.executors.far_messages import (
    Installation,
    find_difference,
    installation,
)
from discover_orch.model.errors import Problem, UsageError

#: Seconds to reach a scheduler, for a first worker, and to start a cluster on this machine.
TIME_TO_CONNECT, TIME_FOR_WORKERS, TIME_TO_START = 10, 10, 120


class Cluster:
    """A cluster on this machine. Raises UsageError if it cannot be started."""

    def __init__(self, workers: int) -> None:
        self._folder = tempfile.mkdtemp(prefix="orch-dask-")
        self._log = open(os.path.join(self._folder, "log"), "w+b")  # noqa: SIM115
        module = "discover_orch.execution.executors.dask_cluster"
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(workers), self._folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
            env={**os.environ, "DASK_LOGGING__DISTRIBUTED": "critical"},
        )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], TIME_TO_START)
        self.address = self._process.stdout.readline().decode().strip() if ready else ""
        if not self.address:
            self._log.seek(0)
            said = self._log.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
            self.end()
            raise refuse(
                f"a Dask cluster cannot be started on this machine: {said or 'it does not answer'}",
                "start one yourself and give its address with --dask-address",
            )

    def end(self) -> None:
        """Kills all its processes. They have nothing to save."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def silence_dask() -> None:
    """In the whole process, which must be orch's own."""
    for name in ("asyncio", *logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # orch says what is lost
    warnings.filterwarnings("ignore", module="distributed")


def connect(address: str, seconds: float = TIME_TO_CONNECT) -> tuple[Client, int]:
    """A client, and the number of the cluster's threads. Raises UsageError after so many seconds."""
    try:
        # A client that fails at this would be left half made.
        get_backend(parse_address(address)[0])
        client = Client(address, timeout=seconds, set_as_default=False, name="orch")
    except Exception as error:
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise refuse(
            f"the Dask scheduler {address} cannot be reached: {said}",
            "check the address, and that the scheduler runs: tcp://HOST:8786",
        ) from None
    try:
        return client, _count_threads(client, address)
    except BaseException:
        client.close(timeout=1)
        raise


def _count_threads(client: Client, address: str) -> int:
    try:
        client.wait_for_workers(1, timeout=TIME_FOR_WORKERS)
    except TimeoutError:
        raise refuse(
            f"the Dask cluster {address} has no workers",
            "start workers; give an adaptive cluster a minimum of 1",
        ) from None
    ours = version("distributed")
    found = client.run(dask_worker.describe, on_error="return")
    for worker, answer in found.items():
        if isinstance(answer, Exception):
            raise refuse(
                f"the Dask worker {worker} cannot load discover_orch: {answer}",
                "install the same discover-orch[dask] where the workers run",
            )
        data, theirs = answer
        far = msgspec.json.decode(data, type=Installation)
        difference = find_difference(installation(), far)
        if not difference and theirs != ours:
            difference = f"distributed is {theirs} on {far.host} and {ours} here"
        if difference:
            raise refuse(
                f"{difference} (the Dask worker {worker})", "install the same versions on both"
            )
    threads: dict[str, int] = client.nthreads()
    return max(1, sum(threads.values()))


def refuse(message: str, hint: str) -> UsageError:
    return UsageError(Problem(code="executor", message=message, hint=hint))
