"""What counts of what only the kernel saw."""

from __future__ import annotations

import os
from pathlib import Path

from discover_orch.execution.unseen_reads import find_output_files


def test_the_file_that_orch_writes_its_output_to_is_no_input(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    reading, writing = os.pipe()
    with log.open("w") as file:
        inodes = find_output_files((file.fileno(), writing, 10_000))
    os.close(reading)
    os.close(writing)
    assert inodes == {log.stat().st_ino}
