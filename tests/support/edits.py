"""What an edit makes stale, one after another; each is undone before the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support.project_builder import Answer
from tests.support.remembered import ran, reasons

#: For a file: it goes away.
GONE = b""


def stale_after(
    orch: Callable[..., Answer], path: Path, content: str | bytes, *words: str
) -> dict[str, list[str]]:
    """Why tools are stale once the file has this content; a file that was not there before is removed again."""
    before = path.read_bytes() if path.exists() else None
    if content == GONE:
        path.unlink()
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        return reasons(orch, *words)
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)


def expect_inputs(
    orch: Callable[..., Answer],
    root: Path,
    tool: str,
    inputs: Mapping[str, str | bytes],
    others: Mapping[str, str | bytes],
) -> None:
    """An edit of an input makes the tool stale, with a reason that names the file; an edit of another file does not.

    That holds after its first run, and again after one that found everything there: caches of bytecode, and its own
    outputs.
    """
    for number in ("first", "second"):
        answer = orch("run")
        assert answer.code == 0, answer.text
        assert reasons(orch) == {}, number
        for path, content in inputs.items():
            found = stale_after(orch, root / path, content)
            assert list(found) == [tool], (number, path, found)
            assert any(Path(path).name in one for one in found[tool]), (number, path, found)
            assert reasons(orch) == {}, (number, path)
        for path, content in others.items():
            assert stale_after(orch, root / path, content) == {}, (number, path)
    assert ran(orch("run", "--changed", "--json")) == []
