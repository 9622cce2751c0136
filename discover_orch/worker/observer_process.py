"""The process of one `@observer` function of `orchconf.py`. It gets the documents of `--json`, as lines from a pipe.

It loads `orchconf.py` as a worker does. How the function failed goes back as a `Failure`; what it prints goes to the
pipe that is its standard output. (`observer` is about what tools do.)
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time

import msgspec
from msgspec.structs import replace

from discover_orch.model.encoding import decode
from discover_orch.worker.loader import Loader
from discover_orch.worker.project_code import ProjectCode
from discover_orch.worker.protocol import TIME_TO_END, Observe
from discover_orch.worker.spawn import MESSAGES_FD, ORDERS_FD
from discover_orch.worker.tracebacks import describe_exception

#: Seconds between two checks whether orch is still there.
CHECK = 1.0


def main() -> None:
    """Calls the function. The process ends as any Python process does, with its `atexit` functions."""
    os.dup2(1, 2)
    for fd in (ORDERS_FD, MESSAGES_FD):
        os.set_inheritable(fd, False)
    sys.stdout = sys.stderr = open(  # noqa: SIM115
        1, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
    )
    documents = os.fdopen(ORDERS_FD, "rb")
    order: Observe = decode(documents.readline(), msgspec.json.Decoder(Observe))
    threading.Thread(target=_end_after, args=(order.parent,), daemon=True).start()
    project = ProjectCode(order.root, order.pythonpath)
    loader = Loader(project, lambda _: contextlib.nullcontext())
    try:
        os.chdir(order.root)
        loader.install()
        function = getattr(loader.load_conf(order.orchconf), order.name)
        function(json.loads(line) for line in documents)
    except BaseException as error:
        failure = describe_exception(error, order.root)
        failure = replace(failure, hint=loader.find_import_hint(error))
        with os.fdopen(MESSAGES_FD, "wb") as messages:
            messages.write(json.dumps(msgspec.to_builtins(failure)).encode())


def _end_after(parent: int) -> None:
    """Orch ends an observer that takes too long. If orch was killed, this does."""
    while os.getppid() == parent:
        time.sleep(CHECK)
    time.sleep(TIME_TO_END)
    os.killpg(os.getpgrp(), signal.SIGKILL)
