"""The tests that pandas and SQLAlchemy ship for SQLite pass on connections whose transaction belongs to orch.

A selection: of pandas those that get a `sqlite3` connection from outside, except those that need files that the
wheel does not have; of SQLAlchemy's suite for dialects those that insert, update, and read rows.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = ("-p", "tests.support.managed_connections")
SETUP = """
[sqla_testing]
requirement_cls = sqlalchemy.testing.requirements:SuiteRequirements
profile_file = profiles.txt
[db]
default = sqlite://
"""
SQLALCHEMY = (
    "InsertBehaviorTest or LastrowidTest or SimpleUpdateDeleteTest or RowFetchTest or RowCountTest or "
    "FetchLimitOffsetTest"
)


def run(folder: Path, *words: str) -> str:
    """The last line of pytest, less its time."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return re.sub(r" in [\d.]+s.*|, \d+ warnings?", "", done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_what_pandas_tests_on_a_connection_from_outside(tmp_path: Path) -> None:
    words = ("--pyargs", "pandas.tests.io.test_sql", "-k", "sqlite_buildin and not iris")
    managed = run(tmp_path, *PLUGIN, *words)
    assert managed == run(tmp_path, *words)
    assert int(managed.split()[0]) >= 50


@pytest.mark.slow
def test_what_sqlalchemy_tests_of_rows(tmp_path: Path) -> None:
    (tmp_path / "setup.cfg").write_text(SETUP)
    (tmp_path / "conftest.py").write_text("from sqlalchemy.testing.plugin.pytestplugin import *\n")
    (tmp_path / "test_suite.py").write_text("from sqlalchemy.testing.suite import *\n")
    words = ("test_suite.py", "--db", "default", "-k", SQLALCHEMY)
    managed = run(tmp_path, *PLUGIN, *words)
    assert managed == run(tmp_path, *words)
    assert int(managed.split()[0]) >= 50
