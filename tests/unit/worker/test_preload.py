"""Imports ahead of a run, in a process of their own, as a spare does them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from tests.conftest import Project
from tests.support.project_builder import clean_environment

PROGRAM = """
import json, os, sys
from discover_orch.worker.preload import preload
from discover_orch.worker.protocol import Preload

class Capture:
    def __init__(self):
        self.out, self.err, self.calls = os.dup(1), os.dup(2), 0
    def put_back(self):
        sys.stdout.flush()
        os.dup2(self.out, 1)
        os.dup2(self.err, 2)
        self.calls += 1

root, pythonpath, modules, out = json.loads(sys.argv[1])
capture = Capture()
order = Preload(
    root=root,
    pythonpath=tuple(pythonpath),
    modules=tuple((name, tuple(names)) for name, names in modules),
)
told = preload(order, capture)
print("captured again")
answer = {
    "rows": [[name, problem] for name, _, problem in told.modules],
    "times": [seconds for _, seconds, _ in told.modules],
    "shadowed": told.shadowed,
    "calls": capture.calls,
    "cwd": os.getcwd(),
    "modules": sorted(sys.modules),
    "path": sys.path,
}
with open(out, "w") as file:
    json.dump(answer, file)
"""


class Preloaded:
    """What came of importing these modules, all of them installed in `lib`."""

    def __init__(
        self,
        project: Path,
        *modules: str | tuple[str, Sequence[str]],
        pythonpath: Collection[str] = (),
        root: str = "",
    ) -> None:
        wanted = [(one, ()) if isinstance(one, str) else one for one in modules]
        out = project / "answer.json"
        entries = [str(project / entry) for entry in pythonpath]
        told = json.dumps([root or str(project), entries, wanted, str(out)])
        package = str(Path(__file__).parents[3])
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, told],
            cwd="/",
            env=clean_environment(PYTHONPATH=os.pathsep.join([package, str(project / "lib")])),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(out.read_text())
        self.rows = dict(answer["rows"])
        self.order = [name for name, _ in answer["rows"]]
        self.times: list[float] = answer["times"]
        self.shadowed = tuple(answer["shadowed"])
        self.calls: int = answer["calls"]
        self.cwd: str = answer["cwd"]
        self.modules = set(answer["modules"])
        self.path: list[str] = answer["path"]
        self.out, self.err = done.stdout, done.stderr


def test_modules_are_imported_in_order_each_with_its_time(project: Project) -> None:
    root = project({"lib/one.py": "", "lib/two/__init__.py": "", "lib/two/sub.py": ""})
    told = Preloaded(root, "two.sub", "one", "json")
    assert told.rows == {"two.sub": "", "one": "", "json": ""}
    assert told.order == ["two.sub", "one", "json"]
    assert all(seconds >= 0 for seconds in told.times)
    assert {"two", "two.sub", "one"} <= told.modules


def test_names_of_a_from_import_that_are_modules_are_imported_too(project: Project) -> None:
    root = project({"lib/pack/__init__.py": "X = 1\n", "lib/pack/sub.py": "", "lib/pack/no.py": ""})
    told = Preloaded(root, ("pack", ["sub", "X", "absent"]))
    assert told.rows == {"pack": ""}
    assert "pack.sub" in told.modules
    assert "pack.no" not in told.modules


def test_what_imports_print_is_lost_at_whatever_level_they_do_it(project: Project) -> None:
    loud = """
        import os, sys
        print("hello")
        print("hello", file=sys.stderr)
        os.write(1, b"hello")
        os.write(2, b"hello")
        os.system("echo hello")
    """
    told = Preloaded(project({"lib/loud.py": loud}), "loud")
    assert told.rows == {"loud": ""}
    assert "hello" not in told.out + told.err


def test_afterwards_the_output_is_captured_again_even_where_an_import_failed(
    project: Project,
) -> None:
    told = Preloaded(project({"lib/bad.py": "1 / 0\n"}), "bad")
    assert told.calls == 1
    assert told.out.endswith("captured again\n")


def test_an_import_that_raises_or_exits_is_a_row_with_its_problem(project: Project) -> None:
    root = project(
        {
            "lib/raises.py": "raise ValueError('no')\n",
            "lib/exits.py": "import sys\nsys.exit('usage')\n",
            "lib/stops.py": "raise KeyboardInterrupt\n",
            "lib/broken.py": "x = (\n",
            "lib/long.py": "raise ValueError('x' * 999)\n",
            "lib/good.py": "",
        }
    )
    told = Preloaded(root, "raises", "exits", "stops", "broken", "absent", "long", "good")
    assert told.rows["raises"] == "ValueError: no"
    assert told.rows["exits"] == "SystemExit: usage"
    assert told.rows["stops"] == "KeyboardInterrupt: "
    assert told.rows["broken"].startswith("SyntaxError: ")
    assert told.rows["absent"] == "ModuleNotFoundError: No module named 'absent'"
    assert len(told.rows["long"]) == 200
    assert told.rows["good"] == ""


def test_imports_happen_in_the_root_and_it_stays_the_working_directory(project: Project) -> None:
    root = project({"lib/where.py": "import os\nopen('here', 'w').close()\n"})
    told = Preloaded(root, "where")
    assert (root / "here").exists()
    assert told.cwd == str(root)


def test_a_root_that_is_gone_imports_nothing(project: Project) -> None:
    root = project({"lib/one.py": ""})
    told = Preloaded(root, "one", root=str(root / "gone"))
    assert told.rows == {}
    assert "one" not in told.modules


def test_pythonpath_is_not_put_on_the_path_of_imports(project: Project) -> None:
    root = project({"src/mine.py": ""})
    told = Preloaded(root, "mine", pythonpath=["src"])
    assert told.rows["mine"].startswith("ModuleNotFoundError")
    assert str(root / "src") not in told.path


# Modules of the project that bear the name of one that was imported.


def test_a_module_that_the_project_would_have_given_is_told(project: Project) -> None:
    root = project(
        {"lib/one.py": "import two\n", "lib/two.py": "", "src/two.py": "", "src/three.py": ""}
    )
    assert Preloaded(root, "one", pythonpath=["src", "nowhere"]).shadowed == ("two",)


def test_so_is_a_package_and_a_folder_without_init(project: Project) -> None:
    root = project({"lib/one.py": "", "lib/two.py": "", "src/one/__init__.py": "", "two/x.txt": ""})
    assert Preloaded(root, "one", "two", pythonpath=["src", "."]).shadowed == ("one", "two")


def test_what_was_there_before_is_not_told(project: Project) -> None:
    root = project({"src/os.py": "", "src/json.py": "", "lib/one.py": ""})
    assert Preloaded(root, "one", "json", pythonpath=["src"]).shadowed == ()
