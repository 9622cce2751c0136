"""A project that a watch only looks at: its tools write a file as soon as one of them is imported or run."""

from __future__ import annotations

from pathlib import Path

from discover_orch.planning.param_values import GivenParams
from discover_orch.watch.project import WatchRequest

CANARY = "open('ran', 'w').close()\n"  # in every tool: looking must never run it


def tool(stage: str = "s", *, top: str = "", takes: str = "", body: str = "pass") -> str:
    return f"{CANARY}{top}\nSTAGE = {stage!r}\ndef run({takes}):\n    {body}\n"


def request_for(root: Path, *words: str, database: str | None = None) -> WatchRequest:
    """As typed in the root of the project."""
    values = GivenParams(folder=str(root))
    return WatchRequest(start=str(root), folder=None, words=words, values=values, database=database)


BASE = {
    "orch.toml": "stages = ['s', 't']\n",
    "src/a.py": tool(top="from src.lib import dates"),
    "src/b.py": tool("t", top="from src.lib import deep"),
    "src/c.py": tool("t"),
    "src/lib/dates.py": "from src.lib.deep import x\n",
    "src/lib/deep.py": "x = 1\n",
    "src/lib/other.py": "x = 1\n",
}
#: Tools with inputs and outputs, and tools with parameters.
DATA = {
    "orch.toml": "",
    "src/a.py": tool(top="ORCH = {'inputs': ['in/*.csv', 'rates.json'], 'outputs': 'out/*'}"),
    "src/b.py": tool(top="ORCH = {'inputs': 'in'}"),
    "src/c.py": tool(),
    "in/x.csv": "1\n",
}
PARAMS = {
    "orch.toml": "[params.a]\nsince = '1'\n",
    "src/a.py": tool(takes="*, since: str = 'x', limit: int = 3"),
    "src/b.py": tool(takes="conn, *, since: str = 'y'"),
}
