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


#: What `run()` changes in its process, and an expression for it.
CHANGES = [
    ("os.chdir('src')", "os.getcwd()"),
    ("os.environ['NEW'] = '1'", "os.environ.get('NEW'), os.popen('echo $NEW').read()"),
    ("os.environ['PATH'] += ':/nowhere'", "os.environ['PATH']"),
    ("del os.environ['PATH']", "os.environ.get('PATH')"),
    ("os.environ.clear()", "sorted(os.environ.items())"),
    ("os.environb[b'NEW'] = bytes([255])", "os.environb.get(b'NEW')"),
    ("os.environ = {}", "type(os.environ), os.environ.get('PATH')"),
    ("os.umask(0o077)", "(lambda now: (os.umask(now), now)[1])(os.umask(0))"),
    ("signal.setitimer(signal.ITIMER_REAL, 1000)", "signal.getitimer(signal.ITIMER_REAL)"),
    (
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])",
        "signal.pthread_sigmask(signal.SIG_BLOCK, [])",
    ),
    ("sys.setrecursionlimit(77_777)", "sys.getrecursionlimit()"),
    ("sys.excepthook = print", "sys.excepthook"),
    ("sys.unraisablehook = print", "sys.unraisablehook"),
    ("sys.displayhook = print", "sys.displayhook"),
    ("sys.settrace(lambda *_: None)", "sys.gettrace()"),
    ("sys.setprofile(lambda *_: None)", "sys.getprofile()"),
    ("sys.argv[:] = ['other']", "sys.argv"),
    ("faulthandler.disable()", "faulthandler.is_enabled()"),
    ("warnings.simplefilter('ignore')", "warnings.filters[:]"),
    ("warnings.showwarning = print", "warnings.showwarning"),
    ("warnings.catch_warnings(record=True).__enter__()", "warnings._showwarnmsg_impl"),
    ("logging.captureWarnings(True)", "warnings.showwarning"),
    ("logging.basicConfig(force=True)", "logging.root.handlers[:]"),
    ("logging.root.setLevel('DEBUG')", "logging.root.level"),
    ("logging.disable(logging.CRITICAL)", "logging.root.manager.disable"),
    ("logging.root.disabled = True", "logging.root.disabled"),
    ("logging.root.addFilter(print)", "logging.root.filters[:]"),
    (
        "logging.getLogger('mine'); logging.config.dictConfig({'version': 1})",
        "logging.getLogger('mine').disabled",
    ),
    *(
        (f"signal.signal(signal.SIG{name}, lambda *_: None)", f"signal.getsignal(signal.SIG{name})")
        for name in "INT TERM ALRM CHLD PIPE QUIT USR1 USR2 TSTP CONT TTIN TTOU".split()
    ),
]
TOP = "import faulthandler, logging, logging.config, os, signal, sys, warnings\nSTAGE = 's'\n"


@pytest.mark.parametrize("end", ["", "raise ValueError"], ids=["passes", "fails"])
def test_what_run_changes_in_its_process_is_undone(project: Project, orch: Orch, end: str) -> None:
    """Of each change there is a tool that looks, one that changes, and one that looks again."""
    files = {}
    for number, (change, state) in enumerate(CHANGES):
        look = f"{TOP}AFTER = ()\ndef run(): print('is:', repr(({state},)))\n"
        files[f"src/t{number:02}_a.py"] = files[f"src/t{number:02}_c.py"] = look
        body = f"    {change}\n    print('is:', repr(({state},)))\n    {end}\n"
        files[f"src/t{number:02}_b.py"] = f"{TOP}AFTER = ()\ndef run():\n{body}"
    project(files)
    answer = orch("run", "--json")
    assert answer.code == (1 if end else 0), answer.text
    said: dict[str, str] = {}
    for event in answer.events:
        if event["event"] == "tool_output" and event["stream"] == "stdout":
            said[event["name"]] = said.get(event["name"], "") + event["text"]
    for number, tried in enumerate(CHANGES):
        before, during, after = (said.get(f"t{number:02}_{one}", "") for one in "abc")
        assert after == before != during, tried


def test_a_warning_that_one_tool_has_shown_is_shown_to_the_next_one(
    project: Project, orch: Orch
) -> None:
    tool = """
        import warnings
        from src.lib import helper
        STAGE = "s"
        def run():
            {}
            helper.warn()
        """
    project(
        {
            "src/lib/helper.py": "import warnings\ndef warn(): warnings.warn('old')\n",
            "src/a.py": tool.format("warnings.simplefilter('default')"),
            "src/b.py": tool.format("pass"),
        }
    )
    assert orch("run").out.count("UserWarning: old") == 2


def test_a_crash_is_told_after_a_tool_that_sent_such_reports_elsewhere(
    project: Project, orch: Orch
) -> None:
    root = project(
        {
            "src/a.py": """
                import faulthandler
                STAGE = "s"
                def run():
                    faulthandler.enable(open("elsewhere", "w"))
                """,
            "src/b.py": "import os\nSTAGE = 's'\nAFTER = 'a'\ndef run():\n    os.abort()\n",
        }
    )
    answer = orch("run")
    assert answer.code == 1
    assert "FAILED b src/b.py:5" in answer.out
    assert (root / "elsewhere").read_text() == ""


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
                from src import settings
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
