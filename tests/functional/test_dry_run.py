"""`orch run --dry-run`: what would run, in which order, and why; nothing runs."""

from __future__ import annotations

from tests.conftest import Orch, Project

PIPELINE = {
    "orch.toml": 'stages = ["ingest", "analyze"]\n[params]\nlimit = 5\n',
    "src/fetch.py": """
        STAGE = "ingest"
        def run(conn, *, limit: int = 3, source: str = "x"): raise SystemExit("was run")
        """,
    "src/parse.py": "STAGE = 'ingest'\nAFTER = 'fetch'\ndef run(conn): ...\n",
    "src/sum_up.py": "STAGE = 'analyze'\ndef run(conn): ...\n",
}


def test_it_shows_the_order_and_a_reason_a_step(project: Project, orch: Orch) -> None:
    project(PIPELINE)
    for flag in ("-n", "--dry-run"):
        answer = orch("run", flag, "ingest", "sum_up")
        assert (answer.code, answer.err) == (0, "")
        assert answer.out == (
            "would run 3 tools, in this order:\n"
            "  1  fetch   ingest   in stage ingest  stale: never ran\n"
            "  2  parse   ingest   in stage ingest, after fetch  stale: never ran\n"
            "  3  sum_up  analyze  selected by name  stale: never ran\n"
        )


def test_nothing_runs_and_nothing_but_what_orch_knows_of_the_code_is_written(
    project: Project, orch: Orch
) -> None:
    root = project(PIPELINE)
    assert orch("run", "-n").code == 0
    assert sorted(path.name for path in root.iterdir()) == [".orch", "orch.toml", "src"]
    kept = sorted(path.name for path in (root / ".orch").iterdir())
    assert kept == [".gitignore", "CACHEDIR.TAG", "code", "index"]
    assert not list(root.rglob("__pycache__"))


def test_it_is_refused_as_the_run_would_be(project: Project, orch: Orch) -> None:
    project({**PIPELINE, "src/broken.py": "STAGE = 'analyze'\n("})
    for words, code in (
        ((), 4),
        (("analyze",), 4),
        (("nope",), 2),
        (("fetch", "--limit", "x"), 2),
        (("fetch", "--exclude", "fetch"), 5),
    ):
        dry, real = orch("run", "-n", *words), orch("run", *words)
        assert (dry.code, dry.out, dry.err) == (real.code, real.out, real.err)
        assert dry.code == code, words


def test_a_long_name_does_not_push_the_rest_out_of_sight(project: Project, orch: Orch) -> None:
    project(
        {
            f"src/{'a' * 200}.py": "STAGE = 's'\ndef run(): ...\n",
            "src/b.py": PIPELINE["src/parse.py"],
        }
    )
    project({"src/fetch.py": PIPELINE["src/fetch.py"]})
    lines = orch("run", "-n").out.splitlines()
    assert all(len(line) < 120 for line in lines if "a" * 200 not in line)


def test_the_settings_say_that_get_connection_gives_conn(project: Project, orch: Orch) -> None:
    project(
        {
            "orchconf.py": "def get_connection(): ...\n",
            "src/a.py": "STAGE = 's'\ndef run(conn): ...\n",
        }
    )
    assert "database = get_connection()  orchconf.py" in orch("run", "-n", "-v").out
    given = orch("run", "-n", "-v", "--database", "sqlite:///x.db").out
    assert "database = sqlite:///x.db  --database" in given
