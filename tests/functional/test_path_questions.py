"""What the project's code asks about paths counts for all tools whose result depends on the answer."""

from __future__ import annotations

import pytest

from tests.conftest import Orch, Project
from tests.support.remembered import reasons

SHARED = {
    "cached": """
        import functools, os
        def is_there(): return os.path.exists("flag")
        @functools.cache
        def mode(): return "on" if is_there() else "off"
        """,
    "at the top": """
        from pathlib import Path
        MODE = "on" if Path("flag").exists() else "off"
        def is_there(): return None
        def mode(): return MODE
        """,
}


@pytest.mark.parametrize("how", SHARED)
def test_what_a_shared_module_asks_once_counts_for_each_tool_that_uses_it(
    project: Project, orch: Orch, how: str
) -> None:
    tool = 'import shared\nSTAGE = "s"\nAFTER = ()\ndef run(): print(shared.is_there(), shared.mode())\n'
    plain = 'import shared\nSTAGE = "s"\nAFTER = ()\ndef run(): print(shared.mode())\n'
    root = project(
        {
            "orch.toml": 'pythonpath = [".", "src"]\n',
            "src/shared.py": SHARED[how],
            "src/a.py": tool,
            "src/b.py": plain,
            "src/c.py": 'STAGE = "s"\nAFTER = ()\ndef run(): print("alone")\n',
        }
    )
    assert orch("run").code == 0
    assert reasons(orch) == {}
    (root / "flag").touch()
    assert reasons(orch) == {"a": ["flag now exists"], "b": ["flag now exists"]}
    assert orch("run", "--changed").code == 0
    assert reasons(orch) == {}
    (root / "flag").unlink()
    assert reasons(orch) == {"a": ["flag is missing"], "b": ["flag is missing"]}


def test_questions_count_in_threads_after_a_change_of_folder_and_by_any_kind_of_path(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "src/t.py": """
                import concurrent.futures, os
                from pathlib import Path
                STAGE = "s"
                def run():
                    with concurrent.futures.ThreadPoolExecutor(2) as pool:
                        [*pool.map(os.path.exists, ["in/thread", b"in/bytes"])]
                    os.chdir("in")
                    os.path.isfile("moved")
                    os.chdir("..")
                    Path("in", "..", "in", "path").is_dir()
                    os.path.lexists(os.path.abspath("in/absolute"))
                    for wrong in (None, "a\\0b", [], 10**6):
                        try: os.stat(wrong)
                        except (TypeError, ValueError, OSError): pass
                    with open("out.txt", "w") as file: os.stat(file.fileno())
                """,
            "in/": "",
        }
    )
    assert orch("run").code == 0
    assert reasons(orch) == {}
    for name in ("thread", "bytes", "moved", "path", "absolute"):
        (root / "in" / name).touch()
        assert reasons(orch) == {"t": [f"in/{name} now exists"]}
        (root / "in" / name).unlink()
    assert reasons(orch) == {}


def test_the_functions_that_ask_stay_what_they_were(project: Project, orch: Orch) -> None:
    project(
        {
            "src/t.py": """
                import inspect, os, pickle, shutil
                STAGE = "s"
                def run():
                    assert os.stat in os.supports_dir_fd and os.stat in os.supports_fd
                    assert os.stat in os.supports_follow_symlinks
                    assert pickle.loads(pickle.dumps(os.stat)) is os.stat
                    assert pickle.loads(pickle.dumps(os.lstat)) is os.lstat
                    assert os.stat.__name__ == "stat" and "dir_fd" in str(inspect.signature(os.stat))
                    assert "follow_symlinks" in os.stat.__doc__
                    folder = os.open(".", os.O_RDONLY)
                    assert os.stat("src", dir_fd=folder).st_ino == os.stat("src").st_ino
                    os.close(folder)
                    for wrong, error in ((None, TypeError), ([], TypeError), ("no", FileNotFoundError)):
                        try: os.stat(wrong)
                        except error as raised: assert raised.__context__ is None
                        else: raise AssertionError(wrong)
                    os.makedirs("made/below"); shutil.rmtree("made")
                """,
        }
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert reasons(orch) == {"t": ["no now exists"]} or reasons(orch) == {}


def test_what_an_installed_package_asks_is_for_itself(project: Project, orch: Orch) -> None:
    root = project(
        {
            "src/t.py": """
                import os, sys
                sys.path.insert(0, "../lib/site-packages")
                import asks
                STAGE = "s"
                def run(): print(asks.is_there("x.csv"), asks.read("y.csv"))
                """,
            "x.csv": "1",
            "y.csv": "1",
        }
    )
    package = root.parent / "lib" / "site-packages" / "asks.py"
    package.parent.mkdir(parents=True)
    package.write_text(
        "import os\n"
        "def is_there(path): return os.path.exists(path)\n"
        "def read(path): return os.path.exists(path) and open(path).read()\n"
    )
    assert orch("run").code == 0
    assert reasons(orch) == {}
    (root / "x.csv").unlink()
    assert reasons(orch) == {}
    (root / "y.csv").write_text("2")
    assert reasons(orch) == {"t": ["y.csv changed"]}
