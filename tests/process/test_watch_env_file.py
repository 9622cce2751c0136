"""A watch reads `env_file` again when it changes."""

from __future__ import annotations

import pytest

from tests.conftest import Project
from tests.support.editors import save
from tests.support.watching import tool_text, watching


@pytest.mark.parametrize("place", [".env", "keys/local.env"])
def test_a_change_of_the_file_runs_what_reads_the_variable(project: Project, place: str) -> None:
    reads = "import os\nSTAGE = 's'\ndef run(): print(os.environ['REGION'], os.environ['PLACE'])\n"
    root = project(
        {
            "orch.toml": f'env_file = "{place}"\n',
            place: "REGION=north\nPLACE=${REGION}-1\n",
            "src/a.py": reads,
            "src/b.py": tool_text(0),
        }
    )
    with watching(root) as watch:
        save(root / place, "REGION=south\nPLACE=${REGION}-1\n")
        run = watch.next_run()
        assert run.output["a"] == "south south-1\n", watch.story()
        assert "b" not in run.tools
        save(root / place, "# south\nREGION=south\nPLACE=${REGION}-1\nOTHER=1\n")
        assert watch.settle() == [], watch.story()
        (root / place).unlink()
        (broken,) = watch.wait_for("broken")["errors"]
        assert "it does not exist" in broken["message"]
        save(root / place, "REGION=west\nPLACE=2\n")
        run = watch.next_run()
        assert run.output["a"] == "west 2\n", watch.story()
