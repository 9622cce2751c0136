"""The child process, from its start to its end.

`spawn` starts it before anything is known of the project; all it needs to know comes in orders. It plans nothing and
has no terminal except one lent for debugging. Every run pays for the modules imported here.
"""

from __future__ import annotations

import _thread
import atexit
import faulthandler
import os
import signal
import sys

from discover_orch.databases.sqlite_user_connections import install_connect
from discover_orch.worker.channel import Capture, Channel
from discover_orch.worker.child_processes import (
    become_subreaper,
    end_after_parent,
    end_process,
    end_with_parent,
)
from discover_orch.worker.interrupts import Interrupts
from discover_orch.worker.loader import preload
from discover_orch.worker.project_code import ProjectCode
from discover_orch.worker.protocol import Greet, Preload, Prepare, prepare_for_orders
from discover_orch.worker.steps import Worker
from discover_orch.worker.traced_files import TracedFiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

# The worker itself and most tools need these; the worker imports them while it waits for its first order.
COMMON_IMPORTS = (
    *("ctypes", "dataclasses", "dis", "json", "pathlib"),
    "discover_orch.worker.keeping_code",
)


def main() -> None:
    """The whole life of a worker. `spawn` has started this process, with pipes at known descriptors."""
    kept: dict[str, ModuleType] = {}
    atexit.register(end_process, kept)  # registered first, called last
    interrupts = Interrupts()
    interrupts.install()
    channel = Channel()
    install_connect()  # before any module of others takes `connect` from `sqlite3`
    for name in COMMON_IMPORTS:
        if channel.is_idle():
            __import__(name)
    prepare_for_orders()
    greeting = channel.receive()
    if not isinstance(greeting, Greet):
        return
    signal.signal(signal.SIGTTIN, signal.SIG_IGN)  # reading the terminal fails instead of stopping
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    become_subreaper()
    kept.update(sys.modules)  # none of them is a tool's
    _thread.start_new_thread(end_after_parent, (channel.life, os.getpid()))
    if greeting.watches_death:
        end_with_parent(greeting.parent)
    faulthandler.enable(channel.messages_fd, all_threads=False)
    capture = Capture()
    channel.guard(capture.fds)
    order, project, traced = channel.receive(), None, None
    if isinstance(order, Preload):
        if not preload(order, capture.restore):
            return
        # Each takes milliseconds, which its run then saves.
        project = ProjectCode(order.root, order.pythonpath)
        traced = TracedFiles(order.root, channel.trace)
        order = channel.receive()
    if isinstance(order, Prepare):
        place = order.root, order.pythonpath
        if traced is not None and traced.is_traced and not order.is_traced:
            return  # nothing ends that, so another worker takes its place
        if project is None or (project.root, project.pythonpath) != place:
            project, traced = ProjectCode(*place), None
        if traced is None or not order.is_traced:
            traced = TracedFiles(order.root, channel.trace if order.is_traced else -1)
        Worker(order, project, channel, capture, interrupts, traced).serve()
