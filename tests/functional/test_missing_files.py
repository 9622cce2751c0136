"""The hint for a file that is not there yet names the tool that makes it, whichever library misses it."""

from __future__ import annotations

import pytest

from tests.conftest import Orch, Project

MAKER = """
STAGE = "all"
def run():
    with open("data/orders.{ending}", "w") as file:
        file.write("customer\\nAda\\n")
"""
READS = {
    "open": ("csv", "open('data/orders.csv')"),
    "pandas csv": ("csv", "__import__('pandas').read_csv('data/orders.csv')"),
    "pandas": ("parquet", "__import__('pandas').read_parquet('data/orders.parquet')"),
    "polars": ("parquet", "__import__('polars').read_parquet('data/orders.parquet')"),
    "polars csv": ("csv", "__import__('polars').scan_csv('data/orders.csv').collect()"),
    "pyarrow": (
        "parquet",
        "__import__('pyarrow.parquet').parquet.read_table('data/orders.parquet')",
    ),
    "pyarrow csv": ("csv", "__import__('pyarrow.csv').csv.read_csv('data/orders.csv')"),
    "pyarrow dataset": ("csv", "__import__('pyarrow.dataset').dataset.dataset('data/orders.csv')"),
    "duckdb": ("csv", "__import__('duckdb').sql(\"FROM 'data/orders.csv'\")"),
    "duckdb parquet": ("parquet", "__import__('duckdb').read_parquet('data/orders.parquet')"),
    "duckdb pattern": ("csv", "__import__('duckdb').sql(\"FROM 'data/*.csv'\")"),
    "polars pattern": ("csv", "__import__('polars').scan_csv('data/*.csv').collect()"),
    "duckdb read-only": ("db", "__import__('duckdb').connect('data/orders.db', read_only=True)"),
}


@pytest.mark.parametrize("library", READS)
def test_a_missing_file_is_named_with_its_maker(library: str, project: Project, orch: Orch) -> None:
    ending, read = READS[library]
    pytest.importorskip(library.split()[0] if library != "open" else "os")
    project(
        {
            "src/count.py": f"STAGE = 'all'\ndef run():\n    {read}\n",
            "src/make.py": MAKER.format(ending=ending),
            "data/readme.txt": "",
        }
    )
    answer = orch("run", "-q")
    assert answer.code == 1
    name = f"data/{'*' if 'pattern' in library else 'orders'}.{ending}"
    hint = f'src/make.py names {name} and runs later: add AFTER = "make" to src/count.py'
    assert hint in answer.out, answer.text


@pytest.mark.parametrize(
    "line",
    [
        "print(open('data/raw.csv').read())",
        "import csv; rows = list(csv.reader(open('data/raw.csv', newline='')))",
        "rows = load_csv(DATA / 'raw.csv')",
        "sql = \"SELECT * FROM 'data/raw.csv'\"",
    ],
)
def test_a_tool_that_only_reads_the_file_too_is_not_named_as_its_maker(
    line: str, project: Project, orch: Orch
) -> None:
    project(
        {
            "src/a.py": "STAGE = 'all'\ndef run():\n    open('data/raw.csv')\n",
            "src/b.py": f"STAGE = 'all'\ndef run():\n    {line}\n",
        }
    )
    answer = orch("run", "-q")
    assert answer.code == 1
    assert "runs later" not in answer.text
    assert "hint: the folder data does not exist" in answer.out


def test_a_check_never_advises_to_turn_an_order_round_that_data_needs(
    project: Project, orch: Orch
) -> None:
    """Both tools connect to a file of DuckDB by themselves, which is one thing for orch."""
    pytest.importorskip("duckdb")
    project(
        {
            "orch.toml": "stages = ['ingest', 'load']\n",
            "src/extract.py": """
                import os
                import duckdb
                STAGE = "ingest"
                def run():
                    since = 0
                    if os.path.exists("wh.duckdb"):
                        with duckdb.connect("wh.duckdb", read_only=True) as conn:
                            since = conn.execute("SELECT max(id) FROM orders").fetchone()[0]
                    with open("raw.csv", "w") as file:
                        file.write(f"id\\n{since + 1}\\n")
                """,
            "src/load.py": """
                import duckdb
                STAGE = "load"
                def run():
                    with duckdb.connect("wh.duckdb") as conn:
                        conn.execute("CREATE OR REPLACE TABLE orders AS FROM 'raw.csv'")
                """,
        }
    )
    for _ in range(2):
        assert orch("run", "-q").code == 0
    answer = orch("check", env={"COLUMNS": "300"})
    assert "extract reads wh.duckdb before load writes it" in answer.text
    assert "load uses what extract makes and cannot run first: divide one of them" in answer.text
    assert "let load run first" not in answer.text
