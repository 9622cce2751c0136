"""Each example runs, has no problems, and is fresh afterwards until something changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import Orch

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
