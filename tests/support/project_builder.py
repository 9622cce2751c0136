"""A project on disk from a dict of its files, and `orch` as a user would run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIME_LIMIT = 60


@dataclass(frozen=True)
class Answer:
    """How one `orch` process ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def text(self) -> str:
        return f"exit {self.code}\n--- out\n{self.out}\n--- err\n{self.err}"


def write_files(root: Path, files: Mapping[str, str | bytes]) -> None:
    """Text is dedented; a name that ends in `/` is an empty folder."""
    for name, content in files.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(textwrap.dedent(content), encoding="utf-8")


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment of each process that a test starts: no settings of orch or Python, no colours, 80 columns."""
    kept = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("ORCH_", "PYTEST_", "COV_", "PYTHON", "GITHUB_", "OPENLINEAGE_"))
        and name not in ("DATABASE_URL", "FORCE_COLOR")
    }
    fixed = {"COLUMNS": "80", "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}
    return {**kept, **fixed, "PYTHONPATH": str(Path(__file__).parents[2]), **extra}


def run_orch(
    root: Path,
    *words: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    prefix: Sequence[str] = (),
) -> Answer:
    """One real process; standard input is empty unless given. `prefix` is a command that starts it."""
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "discover_orch", *words],
        cwd=cwd or root,
        env=clean_environment(**(env or {})),
        input=stdin if stdin is not None else "",
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)
