"""What a module of the project changes in the process while it is loaded holds for each tool that uses it, whichever
tool loaded it. What `run()` changes is undone."""

from __future__ import annotations

import pytest

from tests.conftest import Orch, Project
from tests.support.remembered import ran

SETTINGS = """
    import logging, os, sys, warnings
    from dotenv import load_dotenv
    load_dotenv()
    os.environ.setdefault("REGION", "north")
    logging.basicConfig(format="log: %(message)s", level="INFO", stream=sys.stdout)
    logging.captureWarnings(True)
    warnings.filterwarnings("ignore", message="too old")
    sys.setrecursionlimit(5000)
    sys.path.append("extra")
    """
TOOL = """
    {top}
    STAGE = "s"
    def run():
        {inside}
        import logging, os, sys, warnings
        import beside
        warnings.warn("too old")
        warnings.warn("too new")
        logging.info("limit %s", sys.getrecursionlimit())
        print(os.environ["COLOUR"], os.environ["REGION"])
    """


@pytest.mark.parametrize(
    ("top", "inside"),
    [("from src.lib import settings", "pass"), ("", "from src.lib import settings")],
    ids=["imported_at_the_top", "imported_in_run"],
)
def test_each_tool_has_what_a_shared_module_has_set(
    project: Project, orch: Orch, top: str, inside: str
) -> None:
    tool = TOOL.format(top=top, inside=inside)
    root = project(
        {
            ".env": "COLOUR=red\n",
            "extra/beside.py": "",
            "src/lib/__init__.py": "",
            "src/lib/settings.py": SETTINGS,
            **{f"src/{name}.py": tool for name in "abc"},
        }
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    for name in "abc":
        log = orch("logs", name).out
        assert "red north" in log, name
        assert "log: limit 5000" in log, name
        assert "too new" in log, name
        assert "too old" not in log, name
    assert answer.out.count("red north") == 3
    assert ran(orch("run", "--changed", "--json")) == []
    (root / ".env").write_text("COLOUR=blue\n")
    assert ran(orch("run", "--changed", "--json")) == ["a", "b", "c"]
    assert ran(orch("run", "--changed", "--json")) == []
    assert ran(orch("run", "--changed", "--json", env={"REGION": "south"})) == ["a", "b", "c"]
    assert "blue south" in orch("logs", "c").out


def test_what_run_sets_before_it_loads_a_module_is_undone(project: Project, orch: Orch) -> None:
    project(
        {
            "src/a.py": """
                import logging, os, warnings
                STAGE = "s"
                def run():
                    os.environ["OF_RUN"] = "1"
                    logging.getLogger().addHandler(logging.StreamHandler())
                    warnings.simplefilter("ignore")
                    from src import settings
                """,
            "src/b.py": """
                import logging, os, warnings
                STAGE = "s"
                def run():
                    print(os.environ.get("OF_RUN"), os.environ["OF_MODULE"], len(logging.root.handlers))
                    warnings.warn("shown")
                """,
            "src/settings.py": """
                import logging, os
                os.environ["OF_MODULE"] = "1"
                logging.getLogger().addHandler(logging.NullHandler())
                """,
        }
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert "None 1 1" in answer.out
    assert "shown" in answer.out


def test_a_variable_that_code_sets_counts_with_the_value_that_it_had_before(
    project: Project, orch: Orch
) -> None:
    tool = """
        import os
        STAGE = "s"
        os.environ["MODE"] = "set by the code"
        def run():
            os.environ["RUN_MODE"] = "set by run"
            print(os.environ["MODE"], os.environ["RUN_MODE"])
        """
    project({"src/a.py": tool, "src/b.py": tool})
    assert orch("run").code == 0
    for variables in ({"MODE": "1"}, {"RUN_MODE": "1"}):
        assert ran(orch("run", "--changed", "--json", env=variables)) == ["a", "b"]
        assert ran(orch("run", "--changed", "--json", env=variables)) == []
        assert ran(orch("run", "--changed", "--json")) == ["a", "b"]


def test_what_a_resource_sets_stays_while_it_is_open(project: Project, orch: Orch) -> None:
    tool = """
        import os
        STAGE = "s"
        def run(conn):
            print("color", os.environ["COLOUR"])
        """
    project(
        {
            "orchconf.py": """
                import os, sqlite3
                def get_connection():
                    os.environ["COLOUR"] = "red"
                    return sqlite3.connect("data.db")
                """,
            "src/a.py": tool,
            "src/b.py": tool,
        }
    )
    assert orch("run").out.count("color red") == 2
    assert ran(orch("run", "--changed", "--json")) == []


def test_a_traceback_that_a_tool_prints_has_no_frame_of_the_import_system(
    project: Project, orch: Orch
) -> None:
    project(
        {
            "src/a.py": """
                import traceback
                STAGE = "s"
                def run():
                    try:
                        import src.broken
                    except Exception:
                        traceback.print_exc()
                """,
            "src/broken.py": "import src.deeper\n",
            "src/deeper.py": "1 / 0\n",
        }
    )
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert answer.out.count("File ") == 3
