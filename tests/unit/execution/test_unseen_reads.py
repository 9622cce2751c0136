"""What counts of what only the kernel saw."""

from __future__ import annotations

import os
from pathlib import Path

from discover_orch.execution.unseen_reads import find_output_files, without_files
from discover_orch.model.observation import Observation


def test_the_file_that_orch_writes_its_output_to_is_no_input(tmp_path: Path) -> None:
    log, data = tmp_path / "run.log", tmp_path / "data.csv"
    data.touch()
    reading, writing = os.pipe()
    with log.open("w") as file:
        inodes = find_output_files((file.fileno(), writing, 10_000))
    os.close(reading)
    os.close(writing)
    assert inodes == {log.stat().st_ino}
    rows = tuple((path.name, 0, 0, path.stat().st_ino, 0) for path in (log, data))
    seen = Observation(native_read=rows)
    assert without_files(seen, inodes) == Observation(native_read=rows[1:])
    assert without_files(seen, ()) is seen
