"""Each example runs, has no problems, and is fresh afterwards until something changes."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from tests.conftest import Orch
from tests.support.project_builder import Answer
from tests.support.remembered import tables_of

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = pytest.mark.slow


def copy(name: str, target: Path) -> Path:
    ignored = shutil.ignore_patterns(
        ".orch", "output", "data.db*", "*.duckdb*", "__pycache__", "clean", "features", "models"
    )
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


def _what_ran(again: Answer) -> list[str]:
    assert again.code == 0, again.text
    return [one["name"] for one in again.events if one["event"] == "tool_started"]


def test_daily(tmp_path: Path, orch: Orch) -> None:
    root = copy("daily", tmp_path)
    assert orch("check").code == 0
    assert len(_what_ran(orch("run", "--json"))) == 29
    assert "nothing to run" in orch("run", "--changed").out
    with (root / "raw/2026-01-05.csv").open("a") as file:
        file.write("north,95\n")
    again = orch("run", "--changed", "--json")
    assert _what_ran(again) == ["clean 2026-01-05", "features 2026-01-05", "total"]
    assert (root / "total.txt").read_text() == "north 1605\nsouth 1254\n"


def test_grid(tmp_path: Path, orch: Orch) -> None:
    root = copy("grid", tmp_path)
    assert orch("check").code == 0
    assert len(_what_ran(orch("run", "--json"))) == 8
    assert orch("history", "train").out.count("passed") == 6
    train = root / "src/train.py"
    train.write_text(train.read_text().replace("[1, 3, 5]", "[1, 3, 5, 7]"))
    again = orch("run", "--changed", "--json")
    assert _what_ran(again) == ["train 7 0.1", "train 7 0.5", "best"]
    assert (root / "best.txt").read_text() == "3-0.5 0.126\n"


#: What is replaced in a file of the bike rental, and the tools that run for it.
RENTAL = {
    "docks, for all that look at them": (
        ("src/staging/stg_docks.sql", "trim(title)", "upper(trim(title))"),
        "stg_docks stg_bikes stg_rides bikes docks",
    ),
    "bikes": (
        ("src/staging/stg_bikes.sql", "frame AS", "lower(frame) AS"),
        "stg_bikes stg_rides bikes docks",
    ),
    "rides": (("src/staging/stg_rides.sql", "cents / 100", "cents / 50"), "stg_rides bikes docks"),
    "rides, with the same result": (
        ("src/staging/stg_rides.sql", "cents / 100", "cents * 10 / 1000"),
        "stg_rides",
    ),
    "a mart": (("src/marts/bikes.sql", "sum(minutes)", "max(minutes)"), "bikes"),
    "the other mart": (("src/marts/docks.sql", "count(*) AS brought", "5 AS brought"), "docks"),
    "a check": (("src/marts/docks.sql", "HAVING count(*) > 1", "HAVING count(*) > 2"), "docks"),
    "a comment and the layout": (
        ("src/staging/stg_rides.sql", "SELECT * FROM renamed;", "SELECT *  -- all\nFROM renamed;"),
        "",
    ),
    "a row of a seed": (("seeds/rides.csv", ",14,280", ",15,280"), "seed stg_rides bikes docks"),
    "spaces in a seed": (("seeds/docks.csv", "Old Mill", "Old Mill "), "seed stg_docks"),
}


def started(orch: Orch, *arguments: str) -> str:
    done = orch("run", "--json", *arguments)
    assert done.code == 0, done.text
    return " ".join(one["name"] for one in done.events if one["event"] == "tool_started")


@pytest.mark.parametrize("has_lock", [True, False])
def test_a_shop_in_the_style_of_dbt_is_right_at_once(
    has_lock: bool, tmp_path: Path, orch: Orch
) -> None:
    root = copy("bike_rental", tmp_path)
    if not has_lock:
        (root / "orch.lock").unlink()
    quiet = "6 tools, no problems found\n"
    assert orch("check").out == quiet
    # A model that a relationship looks at comes first, also where the alphabet has it otherwise.
    assert started(orch) == "seed stg_docks stg_bikes stg_rides bikes docks"
    assert (orch("check").out, orch("check").err) == (quiet, "")
    assert "nothing to run" in orch("run", "--changed").out
    if has_lock:
        assert orch("lock", "--check").code == 0
    with duckdb.connect(root / "rental.duckdb", read_only=True) as conn:
        assert conn.sql(
            "SELECT rides, income, last_dock FROM bikes WHERE bike_id = 4"
        ).fetchall() == [(3, Decimal("11.40"), "Old Mill")]
        assert conn.sql("SELECT taken, taken_electric, brought FROM docks").fetchall() == [
            (4, 2, 3),
            (2, 1, 3),
            (3, 2, 3),
        ]


def test_an_edit_of_a_model_runs_what_reads_it(tmp_path: Path, orch: Orch) -> None:
    root = copy("bike_rental", tmp_path)
    assert orch("run").code == 0
    for edit, ((name, old, new), expected) in RENTAL.items():
        path = root / name
        before = path.read_text()
        assert old in before, edit
        for text in (before.replace(old, new), before):
            path.write_text(text)
            assert started(orch, "--changed") == expected, edit
            assert started(orch, "--changed") == "", edit
    (root / "seeds/plans.csv").write_text("id,name\n1,yearly\n")
    assert started(orch, "--changed") == "seed"


def test_a_bad_row_reaches_no_model(tmp_path: Path, orch: Orch) -> None:
    """Each check of the bike rental fails for a row of its own, and nothing downstream runs."""
    root = copy("bike_rental", tmp_path)
    assert orch("run").code == 0
    for seed, row, check in (
        ("bikes", "1,RX-106,city,10,2024-05-01", "bike_id is unique"),
        ("bikes", ",RX-106,city,10,2024-05-01", "bike_id is not null"),
        ("bikes", "7,RX-106,tandem,10,2024-05-01", "kind is an accepted value"),
        ("bikes", "7,RX-106,city,99,2024-05-01", "each home is a dock"),
        ("rides", "109,99,10,20,2024-03-05 08:00:00,11,330", "each bike exists"),
        ("rides", "109,5,99,20,2024-03-05 08:00:00,11,330", "each ride begins at a dock"),
    ):
        path = root / f"seeds/{seed}.csv"
        before = path.read_text()
        path.write_text(f"{before}{row}\n")
        failed = orch("run", "--changed", "--json")
        ended = {
            one["name"]: one["status"] for one in failed.events if one["event"] == "tool_finished"
        }
        checks = [one for event in failed.events for one in event.get("checks", ())]
        names = [one["name"] for one in checks if one["status"] == "failed"]
        assert names == [f"check_{check.replace(' ', '_')}"]
        assert (ended[f"stg_{seed}"], ended["bikes"], ended["docks"]) == (
            "failed",
            "blocked",
            "blocked",
        )
        path.write_text(before)
        # What readers see is as before, so only what failed runs again.
        assert started(orch, "--changed").split()[:2] == ["seed", f"stg_{seed}"]
    assert "nothing to run" in orch("run", "--changed").out


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
