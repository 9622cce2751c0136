"""What native code reads and writes beside the project, in folders that the tool names before it does."""

from __future__ import annotations

import sys

import pytest

from tests.conftest import Orch, Project
from tests.support.remembered import ran, reasons

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="what native code does is seen on Linux only"
)

#: The tests are in a folder for temporary files, which does not count.
ELSEWHERE = {"TMPDIR": "/var/tmp"}
NAMED = {
    "spells": "def run():",
    "asks": 'def run():\n    os.path.exists("../data/x.parquet")',
    "lists": 'def run():\n    os.listdir("../data")',
    "takes": "def run(*, folder: str):",
}


@pytest.mark.slow
@pytest.mark.parametrize("how", NAMED)
def test_a_file_beside_the_project_that_polars_reads_is_an_input(
    project: Project, orch: Orch, how: str
) -> None:
    words = ("--folder", "../data") if how == "takes" else ()
    root = project(
        {
            "src/a_make.py": """
                import os, polars
                STAGE = "s"
                def run():
                    os.makedirs("../data", exist_ok=True)
                    polars.DataFrame({"x": [len(open("in.txt").read())]}).write_parquet("../data/x.parquet")
                """,
            "src/b_use.py": f"""
import os, polars
STAGE = "s"
AFTER = "a_make"
{NAMED[how]}
    rows = polars.read_parquet("../data/x.parquet")
    with open("out.txt", "w") as file: file.write(str(rows["x"][0]))
""",
            "in.txt": "1",
        }
    )

    def run(*more: str) -> list[str]:
        answer = orch("run", "--json", *words, *more, env=ELSEWHERE)
        assert answer.code == 0, answer.text
        return ran(answer)

    run()
    assert reasons(orch, *words, env=ELSEWHERE) == {}
    data = root.parent / "data" / "x.parquet"
    data.with_name("y.parquet").write_bytes(data.read_bytes())
    (root / "in.txt").write_text("22")
    assert run("--changed") == ["a_make", "b_use"]
    assert (root / "out.txt").read_text() == "2"
    assert reasons(orch, *words, env=ELSEWHERE) == {}
    data.write_bytes(data.with_name("y.parquet").read_bytes())  # an edit by hand
    assert {*reasons(orch, *words, env=ELSEWHERE)} == {"a_make", "b_use"}
    assert run("--changed") == ["a_make"]  # which makes what b_use has read
    assert reasons(orch, *words, env=ELSEWHERE) == {}
