"""`python -m discover_orch.execution.executors.dask_cluster N FOLDER`: a Dask cluster of N one-thread workers.

A process of its own session, so that Ctrl-C does not end workers in the middle of a tool. It prints the address of the
scheduler, and ends with all its processes when its standard input is closed, also because orch was killed.
"""

from __future__ import annotations

import logging
import os
import signal
import sys


def main(workers: int, folder: str) -> None:
    from distributed import LocalCluster

    cluster = LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address=None,
        worker_dashboard_address=None,
        local_directory=folder,
        memory_limit=0,  # the work is done in child processes, whose memory it does not see
        silence_logs=logging.CRITICAL,
    )
    print(cluster.scheduler_address, flush=True)
    while sys.stdin.buffer.read(4096):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
