"""What must not happen in the process of the tests: it happens in a copy of it, which then ends."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable


def run_forked(function: Callable[[], str]) -> str:
    """What the function says in a process of its own; how it raised, if it did."""
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(receive)
            try:
                answer = function()
            except BaseException:
                answer = traceback.format_exc()
            with os.fdopen(send, "w", encoding="utf-8") as pipe:
                pipe.write(answer)
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive, encoding="utf-8") as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return answer
