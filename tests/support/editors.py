"""The ways in which programs save a file, step by step, as they were seen to do it.

Each takes a path and the new text. The pauses are part of what they do.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

SHORT = 0.01  # seconds between two steps of one save
FORMATTING = 0.04  # what a formatter takes


def save(path: Path, text: str) -> None:
    """The plainest atomic way: write beside it, rename."""
    beside = path.with_name(f".{path.name}.tmp{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def in_place(path: Path, text: str) -> None:
    """nano, echo >: truncate and write at once."""
    path.write_text(text, encoding="utf-8")


def renamed(path: Path, text: str) -> None:
    """VS Code's atomic save, many a script: a visible file beside it, then a rename."""
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(text, encoding="utf-8")
    time.sleep(SHORT)
    os.replace(beside, path)


def vim(path: Path, text: str) -> None:
    """Renames the file to its backup, creates it anew, writes, takes the backup away (`backupcopy=no`)."""
    backup = path.with_name(path.name + "~")
    os.rename(path, backup)
    time.sleep(SHORT)
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    time.sleep(SHORT)
    backup.unlink()


def vim_with_probe(path: Path, text: str) -> None:
    """Before it, vim tries whether it may make files there: 4913, and the next where that is taken."""
    probe = path.with_name("4913")
    probe.touch()
    probe.chmod(0o644)
    probe.unlink()
    vim(path, text)


def vim_with_copy(path: Path, text: str) -> None:
    """`backupcopy=yes`: copies to the backup and writes in place."""
    backup = path.with_name(path.name + "~")
    backup.write_bytes(path.read_bytes())
    time.sleep(SHORT)
    with path.open("r+", encoding="utf-8") as file:
        file.truncate(0)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    time.sleep(SHORT)
    backup.unlink()


def pycharm(path: Path, text: str) -> None:
    """Safe write: a temporary file, the old one renamed away, the new one renamed to its place."""
    new = path.with_name(path.name + "___jb_tmp___")
    old = path.with_name(path.name + "___jb_old___")
    new.write_text(text, encoding="utf-8")
    os.rename(path, old)
    os.rename(new, path)
    time.sleep(SHORT)
    old.unlink()


def emacs(path: Path, text: str) -> None:
    """A lock that is a dangling link while there is something unsaved, an auto-save file, then in place."""
    lock = path.with_name(f".#{path.name}")
    unsaved = path.with_name(f"#{path.name}#")
    lock.symlink_to(f"me@host.{os.getpid()}:1700000000")
    unsaved.write_text(text, encoding="utf-8")
    time.sleep(SHORT)
    path.write_text(text, encoding="utf-8")
    unsaved.unlink()
    lock.unlink()


def truncated_first(path: Path, text: str) -> None:
    """Truncates in one go and writes in another: for a while the file is empty."""
    path.open("w").close()
    time.sleep(0.06)
    path.write_text(text, encoding="utf-8")


def in_chunks(path: Path, text: str) -> None:
    """A slow writer: what can be read between two chunks is half a module."""
    with path.open("w", encoding="utf-8") as file:
        size = len(text) // 4 + 1
        for start in range(0, len(text), size):
            file.write(text[start : start + size])
            file.flush()
            time.sleep(0.03)


def sed(path: Path, text: str) -> None:
    """`sed -i`: a program of its own writes a file with a random name and renames it."""
    script = path.parent.parent / ".script.sed"
    script.write_text("1r /dev/stdin\n1,$d\n", encoding="utf-8")
    # `r` queues the new text after line 1; with the old lines deleted that is all that is left.
    subprocess.run(["sed", "-i", "-f", str(script), str(path)], input=text, text=True, check=True)
    script.unlink()


def formatted(path: Path, text: str) -> None:
    """The editor saves, and a formatter that it calls writes the file once more with another layout."""
    path.write_text(text, encoding="utf-8")
    time.sleep(FORMATTING)
    path.write_text(reformat(text), encoding="utf-8")


def rsync(path: Path, text: str) -> None:
    """rsync, Syncthing: a hidden file with a random end, then a rename; time stamps are set as they were."""
    letters = "".join(random.choices("abcdefghijkABCDEFGHIJK0123456789", k=6))
    beside = path.with_name(f".{path.name}.{letters}")
    beside.write_text(text, encoding="utf-8")
    beside.chmod(0o644)
    os.utime(beside, (1_600_000_000, 1_600_000_000))
    os.rename(beside, path)


def reformat(text: str) -> str:
    """The same meaning in another layout."""
    return "\n\n" + text.replace(" = ", "  =  ").replace("(", "( ") + "\n# formatted\n"


EDITORS: Mapping[str, Callable[[Path, str], None]] = {
    function.__name__: function
    for function in (
        in_place,
        renamed,
        vim,
        vim_with_probe,
        vim_with_copy,
        pycharm,
        emacs,
        truncated_first,
        in_chunks,
        sed,
        formatted,
        rsync,
    )
}
