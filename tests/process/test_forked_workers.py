"""The workers that the tests fork are like the interpreters that users get (`support/forked_workers.py`)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Orch, Project

FACTS = """
import gc, json, os, re, signal, sys, warnings
import dataclasses, logging, pathlib, discover_orch.worker.shared_uses  # imported ahead if there is time

STAGE = "s"


def run(conn):
    main = vars(sys.modules["__main__"])
    with open("/proc/self/cmdline") as file:
        is_fork = "ForkedWorkers" in file.read()
    with open("/proc/self/status") as file:
        status = [line.split() for line in file if line.startswith(("SigBlk", "SigIgn", "SigCgt", "Umask"))]
    descriptors = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            descriptors[number] = os.readlink(f"/proc/self/fd/{number}")
        except OSError:  # that of the listing itself
            continue
    facts = {
        "is a fork": is_fork,
        "modules": {name: sorted(vars(one)) for name, one in sys.modules.items()},
        "main": [sorted(main), repr(main["__spec__"]), repr(main["__loader__"])],
        "path": [sys.path, sorted(sys.path_importer_cache)],
        "finders": [repr(one) for one in (*sys.meta_path, *sys.path_hooks)],
        "flags": [repr(sys.flags), sys.argv, sys.getrecursionlimit(), sys.dont_write_bytecode],
        "streams": [repr(one) for one in (sys.stdin, sys.stdout, sys.stderr, sys.__stdin__)],
        "input": sys.stdin.read(),
        "environment": sorted(os.environ.items()),
        "folder": os.getcwd(),
        "warnings": repr(warnings.filters),
        "garbage": [gc.isenabled(), gc.get_threshold()],
        "signals": [repr(signal.getsignal(one)) for one in signal.valid_signals()],
        "status": status,
        "descriptors": sorted(descriptors.items()),
        "leads its group": os.getpgrp() == os.getpid(),
    }
    print(re.sub(r" at 0x[0-9a-f]+|[:]\\[[0-9]+\\]|/runs/[0-9]+", "", json.dumps(facts)))
"""


@pytest.mark.parametrize("words", [("run",), ("run", "--changed")], ids=" ".join)
def test_a_forked_worker_is_like_a_new_interpreter(
    words: tuple[str, ...], project: Project, orch: Orch
) -> None:
    project({"orch.toml": "", "data.db": "", "src/a.py": FACTS + "VERSION = 0\n"})
    forked = read_facts(orch, *words)
    project({"src/a.py": FACTS + "VERSION = 1\n"})
    started = read_facts(orch, *words, stdin="")
    assert (forked.pop("is a fork"), started.pop("is a fork")) == (True, False)
    assert forked == started


def read_facts(orch: Orch, *words: str, **how: Any) -> dict[str, Any]:
    answer = orch(*words, **how)
    assert answer.code == 0, answer.text
    (line,) = [one for one in answer.out.splitlines() if one.startswith("    {")]
    facts: dict[str, Any] = json.loads(line)
    return facts
