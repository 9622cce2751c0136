"""`Project.from_table`: every rule of the configuration, its messages, and the masking of URLs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.config.project import Project
from discover_orch.config.settings import KEYS
from discover_orch.model.database_url import masked_url

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
