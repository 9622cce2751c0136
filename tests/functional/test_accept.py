"""`orch accept` where nothing can be kept. The other cases are in `tests/scenes/accept.scene`."""

from __future__ import annotations

from tests.conftest import Orch, Project
from tests.support.permissions import bound_by_permissions


def test_where_nothing_can_be_kept_it_says_so(project: Project, orch: Orch) -> None:
    """Unlike a run, it has no other result than what it keeps."""
    root = project({"orch.toml": "", "src/a.py": "STAGE = 's'\ndef run(): pass\n"})
    root.chmod(0o555)
    try:
        answer = orch("accept", "a", prefix=bound_by_permissions())
    finally:
        root.chmod(0o755)
    assert answer.code == 2, answer.text
    assert "cannot write to .orch: nothing was accepted" in answer.err
    assert answer.out == ""
