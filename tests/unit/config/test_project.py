"""`Project.from_table`: every rule of the configuration, its messages, and the masking of URLs."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.config.executor import Command
from discover_orch.config.project import ParamDefault, Project
from discover_orch.config.rules import KEYS
from discover_orch.model.database_url import masked_url
from discover_orch.model.errors import Problem


def read(toml: str = "", **environ: str) -> Project:
    project, problems = read_all(toml, **environ)
    assert problems == ()
    return project


def read_all(toml: str = "", **environ: str) -> tuple[Project, tuple[Problem, ...]]:
    return Project.from_table(
        tomllib.loads(toml), root="/project", config="pyproject.toml", environ=environ
    )


def say(toml: str = "", **environ: str) -> list[str]:
    """The problems as a user reads them."""
    return [f"{problem.message} ({problem.hint})" for problem in read_all(toml, **environ)[1]]


def test_nothing_configured_is_the_defaults() -> None:
    project = read()
    assert project == Project(root="/project", config="pyproject.toml")
    assert project.packages == ("src",)
    assert project.database_origin == "default"
    assert project.origins == {}


def test_every_key_is_taken_and_its_origin_kept() -> None:
    project = read(
        """
        packages = ["src", "lib", "src"]
        pythonpath = ["src"]
        stages = ["ingest", "render"]
        groups = {nightly = ["ingest", "render"]}
        exclude = ["drafts/"]
        database = "postgresql://me@host/db"
        transaction = "none"
        env_file = ".env"
        ledger = "penguins"
        external_writes = "ignore"
        jobs = 1
        report = true
        parallel = "observed"
        tokens = {gpu = 2}
        executor = "command"
        command = {prefix = "srun --mem=4G", python = ["python3"]}
        params = {since = "2024-01-31"}
        strict = true
        keep_runs = 5
        watch = {scope = "tool", debounce = 0.2, ignore = ["x"], poll = true, on_busy = "queue"}
        """
    )
    assert project.packages == ("src", "lib")
    assert project.groups == {"nightly": ("ingest", "render")}
    assert (project.database, project.database_origin) == (
        "postgresql://me@host/db",
        "pyproject.toml",
    )
    assert (project.transaction, project.tokens, project.strict) == ("none", {"gpu": 2}, True)
    assert (project.external_writes, project.ledger) == ("ignore", "penguins")
    assert project.report is True
    assert project.executor == "command"
    assert project.command == Command(prefix=("srun", "--mem=4G"), python=("python3",))
    assert project.watch == {
        "scope": "tool",
        "debounce": 0.2,
        "ignore": ("x",),
        "poll": True,
        "on_busy": "queue",
    }
    assert project.origins == dict.fromkeys(KEYS, "pyproject.toml")


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("staegs = []", 'unknown setting "staegs" (did you mean "stages"?)'),
        ("keep-runs = 1", 'unknown setting "keep-runs" (did you mean "keep_runs"?)'),
        ("zzz = 1", f'unknown setting "zzz" (the settings are {", ".join(KEYS)})'),
        ('packages = "src"', 'packages must be a list of strings, not a string (write packages = ["src"])'),
        ("stages = [1]", 'stages must be a list of strings, but contains a number (write stages = ["...", "..."])'),
        ('packages = [""]', '"" in packages is not the name of a folder (write "." for the root itself)'),
        ('stages = ["ingest", "ingest"]', 'stage "ingest" is listed twice in stages (remove one of them)'),
        (
            'stages = ["full"]',
            '"full" cannot be the name of a stage: it is the group of all stages'
            " (choose another name, here and in the tools)",
        ),
        ('stages = [" "]', "stages contains an empty name (give it a name, or remove it)"),
        ("groups = 1", 'groups must be a table, not a number (write groups = {name = "value"})'),
        (
            'groups = {nightly = "ingest"}',
            'groups.nightly must be a list of strings, not a string (write nightly = ["ingest"])',
        ),
        ('stages = ["a"]\ngroups = {a = []}', 'group "a" has the name of a stage (choose another name for the group)'),
        (
            "groups = {full = []}",
            '"full" cannot be the name of a group: it is the group of all stages (choose another name)',
        ),
        ('groups = {"" = []}', "groups contains a group with an empty name (give it a name, or remove it)"),
        ("database = 1", 'database must be a string, not a number (write database = "...")'),
        ('database = "my.db"', 'database must be a URL, not "my.db" (for a SQLite file, write "sqlite:///my.db")'),
        (
            'database = "me:hidden@host"',
            'database must be a URL, not "me:***@host" (for a SQLite file, write "sqlite:///data.db")',
        ),
        ('transaction = "tol"', 'transaction must be "tool" or "none" or "run", not "tol" (did you mean "tool"?)'),
        ("transaction = false", 'transaction must be "tool" or "none" or "run", not false (the default is "tool")'),
        (
            'external_writes = "ingore"',
            'external_writes must be "stale" or "ignore", not "ingore" (did you mean "ignore"?)',
        ),
        ("external_writes = true", 'external_writes must be "stale" or "ignore", not true (the default is "stale")'),
        ('ledger = " "', "ledger is empty (write true, or the name of the project)"),
        ("ledger = 1", "ledger must be true, false or a name, not a number (write ledger = true)"),
        ('ledger = "Yes"', 'ledger must be true, false or a name, not "Yes" (write ledger = true)'),
        ('ledger = "off"', 'ledger must be true, false or a name, not "off" (write ledger = false)'),
        ('jobs = "4"', "jobs must be a whole number, not a string (write jobs = 4)"),
        ('jobs = "four"', "jobs must be a whole number, not a string (write jobs = 1)"),
        ("jobs = 0", "jobs must be 1 or more, not 0 (write jobs = 1)"),
        ("jobs = true", "jobs must be a whole number, not true (write jobs = 1)"),
        ('parallel = "yes"', 'parallel must be "declared" or "observed", not "yes" (the default is "declared")'),
        (
            'executor = "dsk"',
            'executor = "dsk" is not an executor (did you mean "dask=ADDRESS"?)',
        ),
        (
            'executor = "my-pools:threads"',
            'executor = "my-pools:threads" is not an executor (use "local", "dask=ADDRESS" or "command")',
        ),
        (
            "command = {prefix = \"srun 'x\"}",
            "command.prefix cannot be split into words: no closing quotation (quote it as in a shell, or "
            "write a list of words)",
        ),
        (
            'command = {prefx = "srun"}',
            'unknown setting "prefx" in command (did you mean "prefix"?)',
        ),
        ("tokens = {gpu = -1}", "tokens.gpu must be 0 or more, not -1 (write gpu = 1)"),
        ("keep_runs = 1.0", "keep_runs must be a whole number, not a number (write keep_runs = 1)"),
        ("watch = {debounce = true}", "watch.debounce must be a number, 0 or more, not true (write debounce = 0.5)"),
        ("groups = []", 'groups must be a table, not a list (write groups = {name = "value"})'),
        ('strict = "yes"', "strict must be true or false, not a string (write strict = true)"),
        ("keep_runs = -1", "keep_runs must be 0 or more, not -1 (write keep_runs = 1)"),
        ("watch = {scop = 1}", 'unknown setting "scop" in watch (did you mean "scope"?)'),
        (
            'watch = {on_busy = "queu"}',
            'watch.on_busy must be "restart" or "queue", not "queu" (did you mean "queue"?)',
        ),
        ("watch = {debounce = nan}", "watch.debounce must be a number, 0 or more, not nan (write debounce = 0.5)"),
        ("params = 3", 'params must be a table, not a number (write params = {name = "value"})'),
        (
            "params = {a = [[1]]}",
            "params.a must be a string, a number, true, false, a date, or a list of those"
            " (put nested data into a file that the tool reads)",
        ),
        (
            "params = {a-b = 1, a_b = 2}",
            'parameter "a_b" is set twice'
            " (dashes and underscores count as equal: remove one of them)",
        ),
        (
            'params = {"a b" = 1}',
            '"a b" cannot be the name of a parameter (write the name as in the signature of run())',
        ),
        ('params = {"" = {}}', "params contains a table with an empty name (write the name of a tool)"),
    ],
)  # fmt: skip
def test_a_wrong_key_or_value_says_what_was_expected(toml: str, said: str) -> None:
    assert say(toml) == [said]


def test_all_problems_are_told_at_once_and_what_is_good_is_kept() -> None:
    project, problems = read_all(
        'stages = ["a", "a", "full"]\njobs = "x"\nstrct = 1\ngroups = {good = ["a"], bad = 1}'
    )
    assert len(problems) == 5
    assert all(problem.severity == "error" for problem in problems)
    assert project.stages == ("a",)
    assert project.jobs == 1
    assert "jobs" not in project.origins
    assert project.groups == {"good": ("a",)}


def test_problems_stand_on_the_line_of_their_key_or_of_the_table_around_it() -> None:
    lines = {("jobs",): 4, ("groups",): 7, ("params", "x"): 9}
    _, problems = Project.from_table(
        {"jobs": 0, "groups": {"a": 1}, "params": {"x": [[]]}, "strict": 1},
        root="/project",
        config="orch.toml",
        read_lines=lambda: lines,
    )
    assert {str(problem.location) for problem in problems} == {
        "orch.toml:4",
        "orch.toml:7",
        "orch.toml:9",
        "orch.toml",
    }


def test_a_table_header_in_orch_toml_is_explained() -> None:
    _, problems = Project.from_table({"tool": {"orch": {}}}, root="/project", config="orch.toml")
    assert problems[0].hint == (
        "in orch.toml, write the settings at the top level, without [tool.orch]"
    )


def test_parameters_become_texts_as_somebody_would_type_them() -> None:
    project = read(
        """
        [params]
        since = 2024-01-31
        at = 2024-01-31T12:00:00Z
        hour = 07:30:00
        name = "x"
        count = 1_000
        rate = 0.5
        dry-run = false
        tags = ["a", 2, true]
        none = []
        """
    )
    assert {name: setting.texts for name, setting in project.params.items()} == {
        "since": ("2024-01-31",),
        "at": ("2024-01-31T12:00:00+00:00",),
        "hour": ("07:30:00",),
        "name": ("x",),
        "count": ("1000",),
        "rate": ("0.5",),
        "dry_run": ("false",),
        "tags": ("a", "2", "true"),
        "none": (),
    }
    assert project.params["since"].origin == "pyproject.toml"


def test_parameters_of_one_tool_stand_under_any_name_of_it() -> None:
    project = read(
        """
        [params]
        since = "a"
        [params.parse]
        since = "b"
        [params."src.pipeline.fetch"]
        since = "c"
        [params.src.pipeline.render]
        since = "d"
        [params.empty]
        """
    )
    assert set(project.params) == {"since"}
    assert {word: dict(params) for word, params in project.tool_params.items()} == {
        "parse": {"since": ParamDefault(texts=("b",), origin="pyproject.toml")},
        "src.pipeline.fetch": {"since": ParamDefault(texts=("c",), origin="pyproject.toml")},
        "src.pipeline.render": {"since": ParamDefault(texts=("d",), origin="pyproject.toml")},
        "empty": {},
    }


def test_the_environment_goes_before_the_file_and_is_named_as_origin() -> None:
    project = read(
        'stages = ["x"]\nstrict = false',
        ORCH_STAGES="ingest, render,,",
        ORCH_STRICT="TRUE",
        ORCH_KEEP_RUNS="7",
        ORCH_GROUPS='{"nightly": ["ingest"]}',
        ORCH_PARAMS='{"since": "2024-01-31", "parse": {"n": 3}}',
        ORCH_DATABASE="duckdb:///x.db",
        ORCH_EXTERNAL_WRITES="ignore",
    )
    assert project.stages == ("ingest", "render")
    assert project.external_writes == "ignore"
    assert project.strict is True
    assert project.keep_runs == 7
    assert project.groups == {"nightly": ("ingest",)}
    assert project.params["since"] == ParamDefault(texts=("2024-01-31",), origin="ORCH_PARAMS")
    assert project.tool_params["parse"]["n"].texts == ("3",)
    assert (project.database, project.database_origin) == ("duckdb:///x.db", "ORCH_DATABASE")
    assert project.origins["stages"] == "ORCH_STAGES"


def test_an_empty_variable_is_none_and_a_comma_the_empty_list() -> None:
    assert read('stages = ["x"]', ORCH_STAGES="").stages == ("x",)
    assert read('stages = ["x"]', ORCH_STAGES=",").stages == ()


@pytest.mark.parametrize(("text", "value"), [("1", True), ("0", False), ("false", False)])
def test_a_flag_in_the_environment_is_true_false_1_or_0(text: str, value: bool) -> None:
    assert read(ORCH_STRICT=text).strict is value


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("ORCH_STRICT", "maybe", 'ORCH_STRICT must be true or false, not "maybe" (write ORCH_STRICT=true)'),
        ("ORCH_JOBS", "1.5", 'ORCH_JOBS must be a whole number, not "1.5" (write ORCH_JOBS=1)'),
        ("ORCH_JOBS", "two", 'ORCH_JOBS must be a whole number, not "two" (write ORCH_JOBS=1)'),
        (
            "ORCH_GROUPS",
            "nightly",
            "ORCH_GROUPS is not valid JSON: Expecting value: line 1 column 1 (char 0)"
            """ (write ORCH_GROUPS='{"name": "value"}')""",
        ),
        ("ORCH_WATCH", "[]", """ORCH_WATCH must be a table, not a list (write ORCH_WATCH='{"name": "value"}')"""),
        ("ORCH_TOKENS", '{"gpu": "one"}', 'ORCH_TOKENS.gpu must be a whole number, not a string (write "gpu": 1)'),
        (
            "ORCH_PARAMS",
            '{"a": null}',
            "ORCH_PARAMS.a must be a string, a number, true, false, a date, or a list of those"
            " (put nested data into a file that the tool reads)",
        ),
        (
            "ORCH_DATABASE",
            "u:pw@host/db",
            'ORCH_DATABASE must be a URL, not "u:***@host/db" (for a SQLite file, write "sqlite:///data.db")',
        ),
        (
            "ORCH_STAGES",
            "a,full",
            '"full" cannot be the name of a stage: it is the group of all stages'
            " (choose another name, here and in the tools)",
        ),
    ],
)  # fmt: skip
def test_a_wrong_variable_is_named(variable: str, text: str, said: str) -> None:
    _, problems = read_all(**{variable: text})
    assert [f"{problem.message} ({problem.hint})" for problem in problems] == [said]
    assert problems[0].location is None


def test_a_likely_slip_in_a_variable_is_a_warning_and_others_are_left_alone() -> None:
    _, problems = read_all(ORCH_STAEGS="x", ORCH_PARAM_STAEGS="x", ORCH_QQQ="x", STAGES="x")
    assert [(problem.severity, problem.message, problem.hint) for problem in problems] == [
        (
            "warning",
            "unknown variable ORCH_STAEGS",
            "did you mean ORCH_STAGES?",
        )
    ]


def test_parameters_in_the_environment_are_kept_as_they_are() -> None:
    project = read(ORCH_PARAM_SINCE="2024-01-31", ORCH_PARAM_DRY_RUN="", ORCH_PARAM_="x")
    assert project.env_params == {
        "since": ParamDefault(texts=("2024-01-31",), origin="ORCH_PARAM_SINCE"),
        "dry_run": ParamDefault(texts=("",), origin="ORCH_PARAM_DRY_RUN"),
    }


def test_database_url_counts_only_where_no_database_is_given() -> None:
    url = "postgresql://host/db"
    project = read(DATABASE_URL=url)
    assert (project.database, project.database_origin) == (url, "DATABASE_URL")
    assert "database" not in project.origins
    assert read('database = "sqlite://"', DATABASE_URL=url).database == "sqlite://"
    assert read(DATABASE_URL=url, ORCH_DATABASE="sqlite://").database_origin == "ORCH_DATABASE"
    assert read(DATABASE_URL=" ").database_origin == "default"


# TOML has no other values than these.
scalars = (
    st.text()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
    | st.datetimes()
    | st.times()
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12
)
tables = st.dictionaries(st.sampled_from([*KEYS, "tool", "stagse"]) | st.text(), values)


@given(table=tables, environ=st.dictionaries(
    st.sampled_from([f"ORCH_{key.upper()}" for key in KEYS]) | st.text().map("ORCH_".__add__),
    st.text() | st.sampled_from(["{}", "1", "9" * 5_000, "[" * 9_999, '{"x": ' + "9" * 5_000 + "}"]),
    max_size=3,
))  # fmt: skip
def test_no_table_and_no_variable_ever_raises(
    table: Mapping[str, Any], environ: dict[str, str]
) -> None:
    project, problems = Project.from_table(
        table, root="/project", config="orch.toml", environ=environ
    )
    for problem in problems:
        assert problem.message.isprintable()
        assert problem.hint.isprintable()
    for setting in project.params.values():
        assert all(isinstance(text, str) for text in setting.texts)


@pytest.mark.parametrize("key", ["jobs", "keep_runs", "tokens", "watch", "params"])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_with_more_digits_than_python_prints_is_refused(key: str, sign: int) -> None:
    number = sign * 16**4400  # TOML and Python write it as 0xfff...
    table = {"tokens": {"x": number}, "watch": {"debounce": number}, "params": {"x": number}}
    _, problems = Project.from_table({key: table.get(key, number)}, root="/project")
    assert len(problems) == 1
    assert len(problems[0].message) < 100


@given(value=st.dates() | st.datetimes() | st.times())
def test_a_date_keeps_its_value(value: date | datetime | time) -> None:
    project, _ = Project.from_table({"params": {"x": value}}, root="/project")
    assert type(value).fromisoformat(project.params["x"].texts[0]) == value


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///data.db", "sqlite:///data.db"),
        ("sqlite://", "sqlite://"),
        ("postgresql://host:5432/db", "postgresql://host:5432/db"),
        ("postgresql://me@host:5432/db", "postgresql://me@host:5432/db"),
        ("postgresql://me:pw@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql://me:p@w/x?y@host/db", "postgresql://me:***@host/db"),
        ("sqlite+pysqlcipher://:pw@/x.db", "sqlite+pysqlcipher://:***@/x.db"),
        ("postgresql:///db?user=me&password=pw&x=1", "postgresql:///db?user=me&password=***&x=1"),
        ("postgresql:///db?sslPassword=p=w", "postgresql:///db?sslPassword=***"),
        ("mssql:///?odbc_connect=PWD%3Dpw", "mssql:///?odbc_connect=***"),
        ("host=x password=pw dbname=y", "host=x password=***"),
        ("me:pw@host", "me:***@host"),
        ("postgresql:/me:pw@host", "postgresql:***@host"),
        ("", ""),
        ("://", "://"),
    ],
)
def test_masked_url_hides_passwords_and_nothing_else(url: str, shown: str) -> None:
    assert masked_url(url) == shown


@given(
    scheme=st.sampled_from(["postgresql://", "mysql+pymysql://", ""]),
    password=st.text(min_size=1),
    rest=st.sampled_from(["host/db", "host:1/db", "", "/x", "h/db?a=b"]),
)
def test_masked_url_never_shows_the_password_of_the_user(
    scheme: str, password: str, rest: str
) -> None:
    shown = masked_url(f"{scheme}me:{password}@{rest}")
    # All of the rest is hidden where the password itself looks like the start of a secret query.
    assert shown in (f"{scheme}me:***@{rest}", f"{scheme}me:***")


@given(password=st.text(min_size=1).filter(lambda text: "&" not in text), user=st.text())
def test_masked_url_never_shows_the_password_in_the_query(password: str, user: str) -> None:
    assert masked_url(f"postgresql://{user}@host/db?password={password}").endswith("***")


@given(st.text())
def test_masked_url_takes_any_text(text: str) -> None:
    masked_url(text)


@pytest.mark.parametrize(
    ("toml", "variable", "name"),
    [
        ("", "", ""),
        ("ledger = true", "", "project"),
        ("ledger = false", "", ""),
        ("ledger = 'x'", "", "x"),
        ("", "1", "project"),
        ("ledger = true", "false", ""),
        ("ledger = true", "y", "y"),
    ],
)
def test_the_ledger_has_the_name_of_the_project(toml: str, variable: str, name: str) -> None:
    assert read(toml, ORCH_LEDGER=variable).ledger == name
