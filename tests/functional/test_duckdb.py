"""Tools on DuckDB beside each other. What orch sees of one after another is in `tests/scenes/duckdb.scene`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.conftest import Orch, Project
from tests.support.marks import slow_but
from tests.support.remembered import reasons

CONF = """
    import duckdb
    def get_connection():
        return duckdb.connect("w.duckdb")
    """


def tool(stage: str, *lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f'STAGE = "{stage}"\ndef run(conn):\n{body}'


def rows(root: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(root / "w.duckdb"), read_only=True) as conn:
        return conn.execute(sql).fetchall()


@pytest.mark.parametrize("opens", slow_but(["database"], ["database", "get_connection()"]))
def test_side_by_side_tools_with_conn_take_turns_and_others_run_beside_them(
    project: Project, orch: Orch, opens: str
) -> None:
    free = "AFTER = ()\nimport os\nimport time\nfrom pathlib import Path\n"
    meets = "    Path('{0}').touch()\n    while not os.access.__wrapped__('{1}', os.F_OK): time.sleep(0.01)\n"
    writes = tool("s1", "conn.execute('create table {0} as select 1 as a')")
    files = {f"src/{name}.py": free + writes.format(name) for name in "bc"}
    root = project(
        {
            "orch.toml": "stages = ['s1', 's2']\ndatabase = 'duckdb:///w.duckdb'\n",
            **({"orchconf.py": CONF} if opens != "database" else {}),
            **files,
            "src/a.py": free + 'ORCH = {"transaction": "none"}\n' + writes.format("a") + meets.format("a has conn", "d runs"),
            "src/d.py": free + 'STAGE = "s1"\ndef run():\n' + meets.format("d runs", "a has conn"),
            "src/e.py": tool("s2", "print(conn.sql('from a union all from b union all from c').fetchall())"),
        }
    )  # fmt: skip
    answer = orch("run", "--jobs", "3")
    assert answer.code == 0, answer.text
    assert "[(1,), (1,), (1,)]" in answer.out
    assert reasons(orch) == {}
    assert rows(root, "select count(*) from duckdb_tables()") == [(4,)]  # one is orch's own
