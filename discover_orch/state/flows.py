"""What each tool was seen to read and write at its last success.

It is one file for the whole project, since a listing needs the data flow of all tools at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from discover_orch.model.dataflow import Dataflow
from discover_orch.state.store import FLOWS, FOLDER, read_sealed, write_sealed

_KIND = "flow 3"


def read_flows(root: str) -> dict[str, Dataflow]:
    """The data flow of each tool, by module."""
    return read_sealed(os.path.join(root, FOLDER, FLOWS), _KIND, dict[str, Dataflow]) or {}


def write_flows(root: str, flows: Mapping[str, Dataflow]) -> bool:
    """Replaces all of them; False where that cannot be written."""
    return write_sealed(os.path.join(root, FOLDER, FLOWS), _KIND, flows)
