"""pandas and SQLAlchemy commit by themselves; a tool that fails after it still leaves nothing behind."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Orch, Project

pytestmark = pytest.mark.slow

OLD = {"t": [(0,)]}
SCHEMA = """
STAGE = "one"
def run(conn):
    execute = getattr(conn, "exec_driver_sql", conn.execute)
    execute("CREATE TABLE t (a)")
    execute("INSERT INTO t VALUES (0)")
"""
SQLITE = "import sqlite3\ndef get_connection(): return sqlite3.connect('data.db')\n"
ALCHEMY = """
from sqlalchemy import create_engine
def get_connection():
    return create_engine("sqlite:///data.db").connect()
"""
ON_ORCH_S = """
    engine = create_engine("sqlite://", creator=lambda: conn, poolclass=StaticPool)
"""
IMPORTS = """
import pandas as pd
from sqlalchemy import Integer, create_engine, insert, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import StaticPool
STAGE = "two"
FRAME = pd.DataFrame({"a": [1, 2]})
class Base(DeclarativeBase): pass
class T(Base):
    __tablename__ = "t"
    a: Mapped[int] = mapped_column(primary_key=True)
def run(conn):
"""


def content(root: Path) -> dict[str, list[object]]:
    with closing(sqlite3.connect(root / "data.db")) as conn:
        names = [
            name
            for (name,) in conn.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'orch%'"
            )
        ]
        return {name: conn.execute(f"SELECT a FROM {name} ORDER BY 1").fetchall() for name in names}


PANDAS = "    FRAME.to_sql('t', conn, if_exists='replace', index=False)\n"
CORE = """
    conn.execute(text("DROP TABLE t"))
    conn.execute(text("CREATE TABLE t (a INTEGER PRIMARY KEY)"))
    conn.execute(insert(T), [{"a": 1}])
    conn.commit()
    with conn.begin():
        conn.execute(insert(T), [{"a": 2}])
        with conn.begin_nested() as nested:
            conn.execute(insert(T), [{"a": 3}])
            nested.rollback()
"""
ORM = """
    Base.metadata.drop_all(conn)
    Base.metadata.create_all(conn)
    conn.commit()
    with Session(conn) as session:
        session.add(T(a=1))
        session.commit()
        session.add(T(a=3))
        session.rollback()
        session.add(T(a=2))
        session.commit()
"""
ENGINE = """
    with engine.begin() as inner:
        Base.metadata.drop_all(inner)
        Base.metadata.create_all(inner)
        inner.execute(insert(T), [{"a": 1}])
    with engine.connect() as inner:
        inner.execute(insert(T), [{"a": 3}])
    with Session(engine) as session, session.begin():
        session.add(T(a=2))
"""


CHECK = "    assert pd.read_sql_query('SELECT a FROM t ORDER BY a', conn)['a'].tolist() == [1, 2]\n"


@pytest.mark.parametrize(
    ("conf", "ways"),
    [
        ("", [PANDAS, ON_ORCH_S + ENGINE, ON_ORCH_S + PANDAS.replace("conn", "engine")]),
        pytest.param(SQLITE, [PANDAS, ON_ORCH_S + ENGINE], marks=pytest.mark.slow),
        pytest.param(
            ALCHEMY, [PANDAS, PANDAS + "    conn.commit()\n", CORE, ORM], marks=pytest.mark.slow
        ),
    ],
)
def test_what_a_library_commits_is_kept_with_the_tool_and_undone_with_it(
    project: Project, orch: Orch, conf: str, ways: list[str]
) -> None:
    body = "".join(way + CHECK for way in ways)
    files = {"src/a.py": SCHEMA, "src/b.py": IMPORTS + body + "    raise ValueError('bad data')\n"}
    root = project(
        {
            **files,
            "orch.toml": "stages = ['one', 'two']\n",
            **({"orchconf.py": conf} if conf else {}),
        }
    )
    answer = orch("run")
    assert (answer.code, "ValueError: bad data" in answer.out) == (1, True), answer.text
    assert content(root) == OLD
    project({"src/b.py": IMPORTS + body})
    answer = orch("run", "b")
    assert answer.code == 0, answer.text
    assert content(root) == {"t": [(1,), (2,)]}
    assert "note" not in answer.text


def test_a_connection_of_sqlalchemy_in_autocommit_mode_is_left_alone(
    project: Project, orch: Orch
) -> None:
    conf = ALCHEMY.replace('data.db"', 'data.db", isolation_level="AUTOCOMMIT"')
    root = project({"orchconf.py": conf, "src/a.py": SCHEMA + "    raise ValueError('no')\n"})
    answer = orch("run")
    assert answer.code == 1
    assert content(root) == OLD
    assert "autocommit mode" in answer.out


def test_closing_sqlalchemy_s_connection_keeps_what_was_committed(
    project: Project, orch: Orch
) -> None:
    close = "    conn.commit()\n    conn.close()\n"
    root = project(
        {
            "orch.toml": "stages = ['one', 'two']\n",
            "orchconf.py": ALCHEMY,
            "src/a.py": SCHEMA + close,
            "src/b.py": IMPORTS + PANDAS.replace("replace", "append") + close + "    1 / 0\n",
        }
    )
    answer = orch("run")
    assert (answer.code, "ZeroDivisionError" in answer.out) == (1, True), answer.text
    assert content(root) == OLD
