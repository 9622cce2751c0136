"""Tools in SQL on PostgreSQL and DuckDB: what only these have, and what must not be taken for a parameter."""

from __future__ import annotations

import pytest

from tests.conftest import Orch, Project

pytestmark = pytest.mark.slow

CONFIG = '[tool.orch]\nstages = ["one"]\n'
HEADER = """\
    -- STAGE: one
    -- day: date = 2024-01-31
    -- ids: list[int] = 1, 3
    -- share: decimal = 0.25
    -- word: str = it's 100% :no
    -- file: path = data/a.csv
    -- none: int = NULL
"""
POSTGRES = """
    CREATE TABLE t AS SELECT i, :word::text AS word, :share::numeric AS share FROM generate_series(1, 4) n(i);
    CREATE FUNCTION twice(x int) RETURNS int AS $$ BEGIN RETURN 2 * x; -- :no
      END; $$ LANGUAGE plpgsql;
    CREATE FUNCTION thrice(x int) RETURNS int LANGUAGE SQL BEGIN ATOMIC SELECT x; SELECT 3 * x; END;
    INSERT INTO t VALUES (5, E'\\';:no', 10 % 3);
    UPDATE t SET share = share + :share WHERE i = ANY(:ids) AND word LIKE '%no';
    WITH gone AS (DELETE FROM t WHERE i = 4 RETURNING i) SELECT i AS gone FROM gone;
    SELECT i, twice(i), thrice(i) AS thrice, word, share, :day::date + 1 AS day, (ARRAY[1, 2, 3])[2:i] AS slice,
      '{"a": 1}'::jsonb ? 'a' AS has, :none::int AS none, :file AS file
    FROM t ORDER BY i;
"""
DUCKDB = """
    CREATE TABLE t AS SELECT i, :word AS word, :share::decimal(8, 2) AS share FROM range(1, 5) n(i);
    CREATE MACRO twice(x) AS 2 * x;
    CREATE MACRO thrice(x := 1) AS 3 * x;
    INSERT INTO t VALUES (5, E'\\';:no', 10 % 3);
    UPDATE t SET share = share + :share WHERE i IN (SELECT unnest(:ids)) AND word LIKE '%no';
    DELETE FROM t WHERE i = 4;
    SELECT i, twice(i) AS twice, thrice(x := i) AS thrice, word, share, :day::date + 1 AS day, [1, 2, 3][2:i] AS slice,
      {'a':i}.a = i AS has, :none::int AS none, :file AS file
    FROM t ORDER BY i;
"""
ROWS = """\
i  twice  thrice  word           share  day         slice   has   none  file
1  2      3       it's 100% :no  0.50   2024-02-01  []      True  NULL  data/a.csv
2  4      6       it's 100% :no  0.25   2024-02-01  [2]     True  NULL  data/a.csv
3  6      9       it's 100% :no  0.50   2024-02-01  [2, 3]  True  NULL  data/a.csv
5  10     15      ';:no          1.00   2024-02-01  [2, 3]  True  NULL  data/a.csv
"""


@pytest.mark.parametrize("kind", ["postgres", "duckdb"])
def test_parameters_are_bound_and_casts_slices_strings_and_bodies_are_none(
    kind: str, project: Project, orch: Orch, postgres: str
) -> None:
    text, url = {"postgres": (POSTGRES, postgres), "duckdb": (DUCKDB, "duckdb:///a.duckdb")}[kind]
    project({"pyproject.toml": CONFIG, "src/a.sql": HEADER + text})
    answer = orch("run", "--json", env={"ORCH_DATABASE": url})
    assert answer.code == 0, answer.text
    shown = "".join(one["text"] for one in answer.events if one["event"] == "tool_output")
    assert shown == ROWS.replace("1.00 ", "1    " if kind == "postgres" else "1.00 ")


@pytest.mark.parametrize("kind", ["postgres", "duckdb"])
def test_an_error_names_the_line_of_the_file_and_nothing_stays(
    kind: str, project: Project, orch: Orch, postgres: str
) -> None:
    env = {"ORCH_DATABASE": {"postgres": postgres, "duckdb": "duckdb:///a.duckdb"}[kind]}
    text = """\
        -- STAGE: one
        CREATE TABLE t (x INTEGER);

        SELECT *
          FROM :table
          WHERE x = 1;
    """
    project({"pyproject.toml": CONFIG, "src/a.sql": text})
    failed = orch("run", "--table", "t", env=env)
    assert failed.code == 1
    assert 'File "src/a.sql", line 5, in run' in failed.text
    assert "LINE 5: " in failed.text  # as the database counts them
    assert "hint: a parameter is a value" in failed.text
    project({"src/a.sql": "-- STAGE: one\nCREATE TABLE t (x INTEGER);\nINSERT INTO t VALUES (1);"})
    assert orch("run", env=env).code == 0


KINDS = ["sqlite", "postgres", "duckdb"]


@pytest.fixture
def env(kind: str, postgres: str) -> dict[str, str]:
    urls = {"postgres": postgres, "duckdb": "duckdb:///a.duckdb", "sqlite": "sqlite:///a.db"}
    return {"ORCH_DATABASE": urls[kind]}


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        (6, "SELECT x, 'a\nb',\n  -- of nothing\n  nothing\nFROM t"),
        (5, "SELECT x\n -- from nowhere\n FROM nowhere\n WHERE x = 1"),
        (4, "SELECT x FROM t\n WHERE nowhat(x) = 1"),
        (4, "INSERT INTO t\n (y)\n SELECT 1"),
        (4, 'SELECT x\n FROM "no where" AS x'),
        (
            5,
            "INSERT INTO t SELECT 1\n FROM t WHERE 1 / 0 > length('a')\n AND x IN (SELECT y FROM t)",
        ),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_an_error_has_the_line_of_the_word_that_the_database_names(
    line: int, wrong: str, kind: str, project: Project, orch: Orch, env: dict[str, str]
) -> None:
    made = "-- STAGE: one\nCREATE TABLE t (x INTEGER);\n"
    if kind == "duckdb" and "(y)" in wrong:
        line = 3  # of a column that an INSERT names it tells no line
    project({"pyproject.toml": CONFIG, "src/a.sql": f"{made}{wrong};\nSELECT 1 AS nothing"})
    failed = orch("run", env=env)
    assert failed.code == 1
    assert f'File "src/a.sql", line {line}, in run' in failed.text
    assert f"FAILED a src/a.sql:{line}" in failed.text


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_without_a_place_has_the_line_of_its_statement(
    kind: str, project: Project, orch: Orch, env: dict[str, str]
) -> None:
    text = """\
        -- STAGE: one
        CREATE TABLE t (x INTEGER PRIMARY KEY);
        -- A table has two lines.
        INSERT INTO t
          SELECT 1
          UNION ALL SELECT 1;
    """
    project({"pyproject.toml": CONFIG, "src/a.sql": text})
    assert "FAILED a src/a.sql:4" in orch("run", env=env).text


def test_an_error_in_a_function_has_the_line_of_its_caller(
    project: Project, orch: Orch, postgres: str
) -> None:
    text = """\
        -- STAGE: one
        CREATE FUNCTION f() RETURNS int AS $$ BEGIN

          RETURN (SELECT x FROM nowhere);
        END; $$ LANGUAGE plpgsql;
        SELECT
          f();
    """
    project({"pyproject.toml": CONFIG, "src/a.sql": text})
    assert "FAILED a src/a.sql:6" in orch("run", env={"ORCH_DATABASE": postgres}).text


def test_the_folder_of_a_declared_output_is_made(project: Project, orch: Orch) -> None:
    tag = '-- ORCH: {"outputs": ["out/deep/*.parquet", "made/"]}\n'
    copies = """\
        COPY (SELECT 1 AS one) TO 'out/deep/x.parquet';
        COPY (SELECT 1 AS one, 2 AS two) TO 'made' (FORMAT parquet, PARTITION_BY (one), OVERWRITE_OR_IGNORE);
    """
    first = 'STAGE = "one"\nimport os\ndef run(): print(os.listdir("."))\n'
    root = project(
        {
            "pyproject.toml": CONFIG.replace('["one"]', '["first", "one"]'),
            "src/a.py": first.replace("one", "first"),
            "src/b.sql": "-- STAGE: one\n" + copies,
        }
    )
    env = {"ORCH_DATABASE": "duckdb:///a.duckdb"}
    failed = orch("run", env=env)
    assert failed.code == 1
    assert (
        'hint: its folder does not exist; with -- ORCH: {"outputs": "out/deep/x.parquet"} orch makes it'
        in " ".join(failed.text.split())
    )
    assert not (root / "out").exists()
    project({"src/b.sql": "-- STAGE: one\n" + tag + copies})
    for _ in range(2):
        answer = orch("run", env=env)
        assert answer.code == 0, answer.text
        assert (root / "out/deep/x.parquet").is_file()
        assert orch("status", "--exit-code", env=env).code == 0
    # A folder that cannot be made is an error of the statement.
    project(
        {"src/b.sql": '-- STAGE: one\n-- ORCH: {"outputs": "file/x.csv"}\n' + copies, "file": ""}
    )
    assert orch("run", env=env).code == 1
