"""Each example runs, has no problems, and is fresh afterwards until something changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import Orch
from tests.support.remembered import tables_of

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = pytest.mark.slow


def copy(name: str, target: Path) -> Path:
    ignored = shutil.ignore_patterns(".orch", "output", "data.db*", "data.duckdb*", "__pycache__")
    shutil.copytree(EXAMPLES / name, target / "project", ignore=ignored)
    return target / "project"


def test_spaceflights(tmp_path: Path, orch: Orch) -> None:
    root = copy("spaceflights", tmp_path)
    assert orch("check").code == 0
    first = orch("run")
    assert first.code == 0, first.text
    score = (root / "output/score.txt").read_text()
    assert 0.8 < float(score.split()[2]) < 1
    assert "nothing to run" in orch("run", "--changed").out
    shuttles = root / "data/shuttles.csv"
    shuttles.write_text(shuttles.read_text() + '61,1,2,3,t,"$1,900.0"\n')
    again = orch("run", "--changed", "--json")
    ran = [one["name"] for one in again.events if one["event"] == "tool_started"]
    # Nobody has reviewed that shuttle, so the input of the model is the same.
    assert ran == ["shuttles", "model_input"]


def test_duckdb_with_parquet(tmp_path: Path, orch: Orch) -> None:
    root = copy("duckdb_parquet", tmp_path)
    first = orch("run")
    assert first.code == 0, first.text
    assert "zones=7" in first.out
    assert "nothing to run" in orch("run", "--changed").out
    (root / "output/zones.parquet").unlink()
    again = orch("run", "--changed", "--json")
    assert [one["name"] for one in again.events if one["event"] == "tool_started"] == ["zones"]


def test_postgres(tmp_path: Path, orch: Orch, postgres: str) -> None:
    copy("postgres", tmp_path)
    env = {"SHOP_DATABASE": postgres}
    first = orch("run", env=env)
    assert first.code == 0, first.text
    assert "cities=3" in first.out
    assert "nothing to run" in orch("run", "--changed", env=env).out
    changed = orch("run", "--changed", "--rows", "30", env=env)
    assert changed.code == 0, changed.text
    assert "Oslo: 202.5" in changed.out


@pytest.mark.parametrize("kind", ["sqlite", "duckdb", "postgres"])
def test_the_same_sql_gives_the_same_on_each_database(
    kind: str, tmp_path: Path, orch: Orch, postgres: str
) -> None:
    root = copy("sql_reports", tmp_path)
    urls = {"sqlite": "sqlite:///a.db", "duckdb": "duckdb:///a.duckdb", "postgres": postgres}
    env = {"ORCH_DATABASE": urls[kind]}
    first = orch("run", "--json", env=env)
    assert first.code == 0, first.text
    shown = "".join(one["text"] for one in first.events if one["event"] == "tool_output")
    assert shown.splitlines() == [
        "month    shop   amount",
        "2024-01  north  20",
        "2024-01  south  35",
        "2024-02  north  10",
        "2024-02  south  45",
    ]
    months = "month,shop,amount\n2024-01,north,20\n2024-01,south,35\n2024-02,north,10\n2024-02,south,45\n"
    assert (root / "output/months.csv").read_text() == months
    assert "nothing to run" in orch("run", "--changed", env=env).out
    status = orch("status", "--json", env=env).json["tools"]
    assert [(one["name"], tables_of(one["reads"]), tables_of(one["writes"])) for one in status] == [
        ("orders", [], ["orders"]),
        ("months", ["months", "orders"], ["months"]),
        ("report", ["months"], []),
    ]
    assert [one["reads"] for one in status if one["name"] == "months"] == [
        [{"table": "months"}, {"table": "orders"}]
    ]
    changed = orch("run", "--changed", "--json", "--since", "2024-02-10", "--least", "20", env=env)
    finished = [one for one in changed.events if one.get("status") == "passed" and "name" in one]
    assert [(one["name"], one["metrics"]) for one in finished] == [
        ("months", {"rows": 1}),
        ("report", {"rows": 1}),
    ]
    good = orch("run", "months", "--least", "20", "--since", "2024-02-10", "--json", env=env)
    assert [check["status"] for one in good.events for check in one.get("checks", ())] == ["passed"]
    months_file, months = root / "src/months.sql", (root / "src/months.sql").read_text()
    months_file.write_text(
        months.replace("-- least", "-- most: int = 20\n-- least").replace("<= 0", "<= :most")
    )
    bad = orch("run", "months", "--json", env=env)
    check = next(check for one in bad.events for check in one.get("checks", ()))
    rows = [["2024-01", "north", "20"], ["2024-02", "north", "10"]]
    assert (bad.code, check["status"], check["rows"]) == (1, "failed", rows)
    months_file.write_text(months)
    (root / "src/months.sql").write_text(
        (root / "src/months.sql").read_text().replace("amount FROM months", "total FROM months")
    )
    failed = orch("run", "months", "--least", "1000", "--json", env=env)
    error = next(one["error"] for one in failed.events if one["event"] == "tool_finished")
    assert (error["path"], error["line"]) == ("src/months.sql", 19)
    assert orch("run", "report", env=env).code == 0  # what the failed one wrote is gone
    assert (root / "output/months.csv").read_text().splitlines()[1:] == ["2024-02,south,40"]
