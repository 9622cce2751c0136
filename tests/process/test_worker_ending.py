"""How workers end: what a tool has left open is closed, and no worker that was started ahead is left."""

from __future__ import annotations

import pytest

from tests.conftest import Project
from tests.support.running import find_marked, running, wait_until

LEFT_OPEN = """
    import atexit, logging, os
    STAGE = "s"
    AFTER = ()
    plain = open("{name}.txt", "w")
    @atexit.register
    def late():
        import json
        with open("{name}.late", "w") as file:
            file.write(json.dumps(os.path.basename("x/y")))
    class Handler(logging.Handler):
        def close(self):
            import textwrap
            with open("{name}.handler", "w") as file:
                file.write(textwrap.indent(os.path.basename("x/y"), " "))
            super().close()
    handler = Handler()
    def run():
        plain.write("all of it")
"""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_what_a_module_leaves_open_is_complete_when_its_worker_has_ended(
    project: Project, jobs: str
) -> None:
    root = project({f"src/{name}.py": LEFT_OPEN.format(name=name) for name in "ab"})
    with running(root, "run", "--jobs", jobs) as orch:
        assert orch.wait() == 0, orch.text
    for name in "ab":
        assert (root / f"{name}.txt").read_text() == "all of it"
        assert (root / f"{name}.late").read_text() == '"y"'
        assert (root / f"{name}.handler").read_text() == " y"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "words", "code"),
    [
        ("AFTER = ()", ["--jobs=3", "nothing"], 2),
        ("AFTER = ()", ["--jobs", "3", "-n"], 0),
        ("", ["--jobs", "3"], 0),
        ("AFTER = ()", ["--jobs", "3000"], 0),
        ("AFTER = 1", ["--jobs", "3"], 4),
    ],
    ids=["refused", "dry", "nothing to overlap", "more than tools", "broken"],
)
def test_no_worker_that_was_started_ahead_is_left(
    project: Project, text: str, words: list[str], code: int
) -> None:
    tool = f'STAGE = "s"\n{text}\ndef run(): pass\n'
    root = project({f"src/{name}.py": tool for name in "ab"})
    mark = f"worker-ending-{root}"
    with running(root, "run", *words, MARK=mark) as orch:
        assert orch.wait() == code, orch.text
    wait_until(lambda: not find_marked(mark), "the end of all workers")
