"""The sample project, as a user would run it: the published figures, and a failure in the middle."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Orch

SAMPLE = Path(__file__).parents[2] / "sample_project"
# Gorman, Williams and Fraser (2014): rows, mean culmen and flipper length (mm), body mass (g).
PUBLISHED = {
    "Adelie": ("152", "38.79", "189.95", "3700.66"),
    "Chinstrap": ("68", "48.83", "195.82", "3733.09"),
    "Gentoo": ("124", "47.50", "217.19", "5076.02"),
}


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A copy without what earlier runs left, where the fixture `orch` runs."""
    left = shutil.ignore_patterns(".orch", "__pycache__", "data.db*", "output")
    return Path(shutil.copytree(SAMPLE, tmp_path / "project", ignore=left))


def query(root: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(root / "data.db")) as conn:
        return conn.execute(sql).fetchall()


def figures(root: Path) -> dict[object, tuple[object, ...]]:
    rows = query(
        root,
        """
        SELECT species, CAST(penguins AS TEXT), printf('%.2f', culmen_length_mm),
            printf('%.2f', flipper_length_mm), printf('%.2f', body_mass_g)
        FROM summary WHERE sex = 'all'
        """,
    )
    return {species: tuple(values) for species, *values in rows}


def test_a_full_run_reproduces_the_published_figures(sample: Path, orch: Orch) -> None:
    answer = orch("run")
    assert answer.code == 0, answer.text
    assert answer.err == ""
    assert "running 5 tools: fetch, parse, enrich, summarize, render\n" in answer.out
    assert answer.out.splitlines()[-1].startswith("5 passed in ")
    assert figures(sample) == PUBLISHED
    assert query(sample, "SELECT min(date_egg), max(date_egg) FROM penguins") == [
        ("2007-11-09", "2009-12-01")
    ]
    page = (sample / "output" / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    for name, values in PUBLISHED.items():
        assert name in page
        for value in values:
            assert value in page


def test_it_can_be_run_again(sample: Path, orch: Orch) -> None:
    assert orch("run", "-q").code == 0
    page = (sample / "output" / "report.html").read_bytes()
    assert orch("run", "-q").code == 0
    assert figures(sample) == PUBLISHED
    assert (sample / "output" / "report.html").read_bytes() == page


def test_a_parameter_reaches_both_tools_of_the_stage(sample: Path, orch: Orch) -> None:
    assert orch("run", "ingest").code == 0
    answer = orch("run", "analyze", "--since", "2008-11-01")
    assert answer.code == 0, answer.text
    assert "rows=234" in answer.out
    assert query(sample, "SELECT min(date_egg) >= '2008-11-01', count(*) FROM enriched") == [
        (1, 234)
    ]
    assert query(sample, "SELECT sum(penguins) FROM summary WHERE sex = 'all'") == [(234,)]


def test_tools_by_name_run_in_the_order_given(sample: Path, orch: Orch) -> None:
    assert orch("run", "-q").code == 0
    answer = orch("run", "fetch", "enrich", "render")
    assert answer.code == 0, answer.text
    assert "running 3 tools: fetch, enrich, render\n" in answer.out
    assert "[2/3] analyze › enrich\n" in answer.out


@pytest.mark.parametrize("is_url", [False, True])
def test_another_source_is_read(sample: Path, orch: Orch, is_url: bool) -> None:
    rows = (sample / "data" / "penguins_raw.csv").read_text(encoding="utf-8").splitlines()
    few = sample.parent / "few.csv"
    few.write_text("\n".join(rows[:11]) + "\n", encoding="utf-8")
    answer = orch("run", "fetch", "--source", few.as_uri() if is_url else str(few))
    assert answer.code == 0, answer.text
    assert query(sample, "SELECT count(*) FROM raw") == [(10,)]


def test_a_failure_in_the_middle_is_shown_and_rolled_back(sample: Path, orch: Orch) -> None:
    assert orch("run", "-q").code == 0
    tool = sample / "src" / "pipeline" / "enrich.py"
    text = tool.read_text(encoding="utf-8")
    place = text.index("    (rows,) =")
    broken = f'{text[:place]}    raise ValueError("a penguin is missing")\n{text[place:]}'
    tool.write_text(broken, encoding="utf-8")
    line = broken[:place].count("\n") + 1

    answer = orch("run", "--since", "2008-11-01")
    assert answer.code == 1
    assert answer.out.splitlines()[-4:-1] == [
        f"FAILED enrich src/pipeline/enrich.py:{line}  ValueError: a penguin is missing",
        "  blocked by enrich: summarize, render",
        "  resume with: orch run --resume",
    ]
    assert answer.out.splitlines()[-1].startswith("1 failed, 2 passed, 2 blocked in ")
    assert f'last):\n  File "src/pipeline/enrich.py", line {line}, in run\n' in answer.out
    # It had dropped and made its table anew, with fewer rows.
    assert query(sample, "SELECT count(*) FROM enriched") == [(344,)]
    assert figures(sample) == PUBLISHED

    tool.write_text(text, encoding="utf-8")
    again = orch("run", "--resume")
    assert again.code == 0, again.text
    assert "running 3 tools: enrich, summarize, render\n" in again.out
    assert query(sample, "SELECT count(*) FROM enriched") == [(234,)]


@pytest.mark.parametrize("kind", ["postgres", pytest.param("duckdb", marks=pytest.mark.slow)])
def test_a_database_url_is_enough_for_the_same_report(
    sample: Path, orch: Orch, kind: str, new_postgres: Callable[[], str]
) -> None:
    assert orch("run", "-q").code == 0
    page = (sample / "output" / "report.html").read_bytes()
    (sample / "output" / "report.html").unlink()
    url = new_postgres() if kind == "postgres" else "duckdb:///penguins.duckdb"
    answer = orch("run", env={"DATABASE_URL": url})
    assert answer.code == 0, answer.text
    assert "(DATABASE_URL)" in answer.out
    assert (sample / "output" / "report.html").read_bytes() == page
    again = orch("run", "--changed", env={"DATABASE_URL": url})
    assert "all 5 tools are fresh" in again.out, again.text


@pytest.mark.slow
def test_the_tools_behind_a_command_give_the_same_report_and_tables_as_one_worker(
    sample: Path, orch: Orch
) -> None:
    def results(*words: str) -> tuple[bytes, list[str]]:
        for name in ("data.db", "data.db-wal", "data.db-shm", "output/report.html"):
            (sample / name).unlink(missing_ok=True)
        answer = orch("run", *words)
        assert answer.code == 0, answer.text
        with closing(sqlite3.connect(sample / "data.db")) as conn:
            return (sample / "output" / "report.html").read_bytes(), sorted(
                one for one in conn.iterdump() if "orch_memory" not in one
            )

    expected = results()
    for jobs in ("1", "4"):
        assert results("--executor", "command", "--jobs", jobs) == expected, jobs
