"""What `run()` changes in its process is undone. What modules change is in `tests/scenes/modules.scene`."""

from __future__ import annotations

import pytest

from tests.conftest import Orch, Project

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
