"""`RanFunctions` sees code however it comes to be called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="Python says which functions ran since 3.12"
)

#: Observes its own process, which an audit hook never leaves, and prints what ran and why more may have run.
OBSERVED = """
import marshal, os, sys, types
from discover_orch.worker.project_code import ProjectCode
from discover_orch.worker.tool_observation import Observer

root = os.getcwd()
observer = Observer(ProjectCode(root, [root]))
observer.begin_step()
code = compile("def used():\\n    return 1\\n", root + "/x.py", "exec")
function = code.co_consts[0]
{way}
seen = observer.finish_step()
print(seen.ran, seen.code_gap)
"""
WAYS = {
    "executed": "names = {}; exec(code, names); names['used']()",
    "evaluated": "eval(function)",
    "from its bytes": "types.FunctionType(marshal.loads(marshal.dumps(function)), {})()",
    "given to a function": "def f(): pass\nf.__code__ = function\nf()",
}


def run(folder: Path, text: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def observe(folder: Path, way: str) -> str:
    return run(folder, OBSERVED.replace("{way}", way))


@pytest.mark.parametrize("way", WAYS)
def test_code_is_seen_however_it_is_called(tmp_path: Path, way: str) -> None:
    assert observe(tmp_path, WAYS[way]) == "{'x.py': ('used',)}"


def test_code_that_is_made_of_other_code_may_be_called_unseen(tmp_path: Path) -> None:
    assert observe(tmp_path, "function.replace(co_firstlineno=9)").startswith("{} calls code")


def test_code_that_was_loaded_before_may_be_called_unseen(tmp_path: Path) -> None:
    (tmp_path / "early.py").touch()
    text = OBSERVED.replace("{way}", "").replace("import marshal", "import early, marshal")
    assert run(tmp_path, text).startswith("{} calls code")
