"""What each tool was seen to read and write at its last success.

It is one file for the whole project, since a listing needs the data flow of all tools at once. A file that is damaged
or of another version counts as no file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from discover_orch.model.dataflow import Dataflow
from discover_orch.state.store import FLOWS, FOLDER, read_sealed, write_sealed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FIELDS = ("reads", "writes", "tables_read", "tables_written", "folders", "missed")


def read_flows(root: str) -> dict[str, Dataflow]:
    """The data flow of each tool, by module."""
    row = read_sealed(os.path.join(root, FOLDER, FLOWS), "flow")
    try:
        return {} if row is None else {one: read_flow(flow) for one, flow in row["flows"].items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def write_flows(root: str, flows: Mapping[str, Dataflow]) -> bool:
    """Replaces the file; False where it cannot be written."""
    rows = {module: flow_row(flow) for module, flow in flows.items()}
    return write_sealed(os.path.join(root, FOLDER, FLOWS), "flow", {"flows": rows})


def flow_row(flow: Dataflow) -> dict[str, object]:
    row: dict[str, object] = {name: one for name in _FIELDS if (one := getattr(flow, name))}
    if flow.is_unclear:
        row["unclear"] = True
    return row


def read_flow(row: Mapping[str, Any]) -> Dataflow:
    """The value that `flow_row` wrote; TypeError or AttributeError for a row that is none."""
    lists = {name: _read_texts(one) for name in _FIELDS if (one := row.get(name))}
    return Dataflow(**lists, is_unclear=bool(row.get("unclear")))


def _read_texts(row: list[str]) -> tuple[str, ...]:
    if row.__class__ is not list or not all(one.__class__ is str for one in row):
        raise TypeError("not a list of texts")
    return tuple(row)
