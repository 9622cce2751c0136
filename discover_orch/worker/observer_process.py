"""The process of one `@observer` function of `orchconf.py`. It gets the documents of `--json` as lines from a pipe.

It loads `orchconf.py` as a worker does. What the function prints, and at last how it failed, goes to another pipe.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import threading
import time

from msgspec.structs import replace

from discover_orch.model.conventions import CONF_FILE
from discover_orch.worker.loader import Loader
from discover_orch.worker.project_code import ProjectCode
from discover_orch.worker.protocol import OBSERVER_FAILED, TIME_TO_END, encode_line
from discover_orch.worker.tracebacks import describe_exception

#: Seconds between two checks whether orch is still there.
CHECK = 1.0


def main() -> None:
    """Calls the function. The arguments are its name, the process of orch, the root, and the folders of `pythonpath`.
    This process ends as any Python process does, with its `atexit` functions."""
    name, parent, root, *pythonpath = sys.argv[1:]
    threading.Thread(target=_end_after, args=(int(parent),), daemon=True).start()
    del sys.argv[1:]
    documents = os.fdopen(os.dup(0), "rb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # what it starts does not read them
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    loader = Loader(ProjectCode(root, pythonpath), lambda _: contextlib.nullcontext())
    try:
        loader.install()
        function = getattr(loader.load_conf(os.path.join(root, CONF_FILE)), name)
        function(json.loads(line) for line in documents)
    except BaseException as error:
        failure = replace(describe_exception(error, root), hint=loader.find_import_hint(error))
        sys.stdout.flush()
        os.write(1, b"\n" + OBSERVER_FAILED + encode_line(failure))


def _end_after(parent: int) -> None:
    """Orch ends an observer that takes too long. If orch was killed, this does."""
    while os.getppid() == parent:
        time.sleep(CHECK)
    time.sleep(TIME_TO_END)
    os.killpg(os.getpgrp(), signal.SIGKILL)
