"""Secrets: which names are theirs, and where they stand in texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discover_orch.model.secret_masking import (
    find_url_passwords,
    hide_url_passwords,
    is_secret_name,
)


@pytest.mark.parametrize(
    ("text", "shown", "passwords"),
    [
        ("postgresql://ada:p%40ss,w!@host/db", "postgresql://ada:***@host/db", ["p%40ss,w!", "p@ss,w!"]),
        ("to redis://:a@b@cache and http://h:80/x", "to redis://:***@cache and http://h:80/x", ["a@b"]),
        ('{"url": "amqp://u:one@h", "b": "x://v:two@h"}', '{"url": "amqp://u:***@h", "b": "x://v:***@h"}', ["one", "two"]),
        ("https://host:8080/users/a@b?c=d:e@f", "https://host:8080/users/a@b?c=d:e@f", []),
        ('"http://a:80","ada@example.org"', '"http://a:80","ada@example.org"', []),
        ("git@github.com:ada/shop, ssh://git@host, a:b@c", "git@github.com:ada/shop, ssh://git@host, a:b@c", []),
        ("postgresql://postgres:postgres@localhost", "postgresql://postgres:***@localhost", []),
        ("pip install git+https://ghp_0123456789abcdef@github.com/a/b", "pip install git+https://***@github.com/a/b", ["ghp_0123456789abcdef"]),
        ("HTTPS://sk_0123456789abcdef:@api, http://ada@h/x", "HTTPS://***:@api, http://***@h/x", ["sk_0123456789abcdef"]),
        ("https://ghp_0123456789abcdef:x-oauth-basic@h", "https://***:***@h", ["x-oauth-basic", "ghp_0123456789abcdef"]),
        ("mysql+pymysql://ada@h/d trino+https://ada@h ftp://ada@h", "mysql+pymysql://ada@h/d trino+https://ada@h ftp://ada@h", []),
    ],
)  # fmt: skip
def test_the_passwords_of_urls_are_found_in_any_text(
    text: str, shown: str, passwords: list[str]
) -> None:
    assert hide_url_passwords(text) == shown
    assert find_url_passwords(text) == passwords
    assert hide_url_passwords(shown) == shown


@given(st.text(alphabet="a:/@ .", max_size=30), st.text(alphabet="xyz,@:!", min_size=1))
def test_no_password_of_a_url_survives(around: str, password: str) -> None:
    shown = hide_url_passwords(f"{around} db://user:secret{password}@host {around}")
    assert "secret" not in shown


@pytest.mark.parametrize(
    "name",
    [
        *("PGPASSWORD", "DB_PASS", "db_pwd", "MYSQL_PWD", "APIKEY", "jwt", "GITHUB_PAT", "AUTH_TOKEN_PROD"),
        *("SLACK_WEBHOOK", "slack-webhook-url", "api_key", "token"),
    ],
)  # fmt: skip
def test_such_a_name_is_that_of_a_secret(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["PWD", "OLDPWD", "key", "compass", "path", "tokens", "passed", "webhooks"]
)
def test_such_a_name_is_no_secret(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("text", "shown", "secrets"),
    [
        ("host=db password=sesame-4711 user=ada", "host=db password=*** user=ada", ["sesame-4711"]),
        ("password = 'a b' dbname=x", "password = *** dbname=x", ["a b"]),
        ("dbname=x password=", "dbname=x password=", []),
        ("the password=12 is wrong", "the password=12 is wrong", []),
    ],
)
def test_the_password_of_a_connection_string_is_hidden(
    text: str, shown: str, secrets: list[str]
) -> None:
    assert hide_url_passwords(text) == shown
    assert find_url_passwords(text) == secrets
