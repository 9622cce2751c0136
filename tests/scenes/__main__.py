"""`python -m tests.scenes [WORD ...]` records the scenes whose file or name contains one of the words, or all."""

from __future__ import annotations

import sys

from tests.scenes.runner import FOLDER, read_scenes, record
from tests.support.fork_server import ORCH_AND_WORKERS, ForkServer

with ForkServer(ORCH_AND_WORKERS) as server:
    for path in sorted(FOLDER.glob("*.scene")):
        wanted = [
            scene
            for scene in read_scenes(path)
            if not sys.argv[1:] or any(word in str(scene) for word in sys.argv[1:])
        ]
        if wanted and record(path, wanted, server):
            print(f"{path.relative_to(FOLDER.parents[1])}: recorded anew")
