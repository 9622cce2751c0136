"""A program that has nothing to do with orch: it reads and lists all that it finds in a folder, at random, until its
standard input is closed. A line there, JSON, tells it to write a file: `[path, text, reads before it, is_atomic]`; when
it has done so, it says `written`.

It runs by itself, without the package of the tests.
"""

from __future__ import annotations

import json
import os
import random
import select
import sys


def find_paths(root: str) -> list[str]:
    found: list[str] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != ".orch"]
        found += [os.path.join(folder, name) for name in names]
    return found


def read_some(paths: list[str], chance: random.Random) -> None:
    for path in chance.sample(paths, min(len(paths), 5)):
        try:
            with open(path, "rb") as file:
                file.read()
        except OSError:
            pass


def write_file(path: str, text: str, *, is_atomic: bool) -> None:
    target = f"{path}.foreign" if is_atomic else path
    with open(target, "w") as file:
        file.write(text)
    if is_atomic:
        os.replace(target, path)


def main(root: str, seed: str) -> None:
    chance = random.Random(int(seed))
    typed = b""
    order: list[str | int] | None = None
    count = 0
    while True:
        if select.select([0], [], [], 0.002)[0]:
            more = os.read(0, 1 << 16)
            if not more:
                return
            typed += more
            if typed.endswith(b"\n"):
                order, typed, count = json.loads(typed), b"", 0
        read_some(find_paths(root), chance)
        count += 1
        if order is not None and count >= int(order[2]):
            write_file(str(order[0]), str(order[1]), is_atomic=bool(order[3]))
            order = None
            print("written", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
