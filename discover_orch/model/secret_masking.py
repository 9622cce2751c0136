"""Secrets: which names are theirs, where they stand in texts, and how they are masked. Pure, but for the names that
the settings give."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from discover_orch.model.conventions import PARAM_PREFIX

SECRET_LAST_WORDS = frozenset(
    {"token", "secret", "password", "passwd", "passphrase", "credentials", "apikey", "pass", "pgpassword"}
    | {"jwt", "pat", "webhook"}
)  # fmt: skip
#: `PWD` alone is the working directory.
SECRET_ENDS = ("api_key", "secret_key", "access_key", "private_key", "webhook_url", "_pwd")
#: What the setting `secrets` names. A process works on one project at a time, and each name is compared with the words
#: above in many places, none of which may forget these.
_named_secrets: re.Pattern[str] | None = None
#: Shown in place of a secret.
MASK = "***"
#: What stands before the password of a URL, and the password. It is looked for in any text: `/` and quotes end it.
_URL_PASSWORD = r"""(://[^\s/?#:@"'<>]*:)([^\s/?#"'<>]+)(?=@)"""
#: A user without a password is a token where the web and version control take one there, as in
#: `git+https://TOKEN@host`. GitHub also takes the password `x-oauth-basic`, and Stripe an empty one.
_URL_TOKEN = (
    r"""(?<![\w+.-])((?i:(?:(?:git|hg|svn|bzr)\+)?https?)://)([^\s/?#:@"'<>]+)"""
    r"""(?=@|:@|:x-oauth-basic@)"""
)
#: A connection string of libpq has a password beside other keywords, as in `host=db password=…`
#: (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING).
_IS_CONNECTION_STRING = r"(?:^|\s)(?:host|hostaddr|dbname|user|port|service)\s*=\s*\S"
_STRING_PASSWORD = r"((?:^|(?<=\s))password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s']\S*)"
#: Characters. A shorter user may be a name, which is masked in its URL alone.
_MIN_TOKEN_LENGTH = 16
_CONTROL = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))"
#: Characters. Shorter texts would also match words that are no secrets.
MIN_SECRET_LENGTH = 8


def is_secret_name(name: str) -> bool:
    """Whether a parameter or an environment variable of this name, in any case, holds a secret."""
    lowered = name.lower().replace("-", "_")
    words = lowered.split("_")
    if words[-1] in SECRET_LAST_WORDS or "token" in words or lowered.endswith(SECRET_ENDS):
        return True
    named = _named_secrets
    return named is not None and named.match(lowered.removeprefix(PARAM_PREFIX.lower())) is not None


def name_secrets(patterns: Sequence[str]) -> None:
    """From now on names that match these, in any case, are those of secrets, too; they replace those of before."""
    global _named_secrets
    _named_secrets = None
    if patterns:
        from fnmatch import translate  # few projects name some

        lowered = (one.strip().lower().replace("-", "_") for one in patterns)
        _named_secrets = re.compile("|".join(translate(one) for one in lowered if one) or r"(?!)")


def is_secret_value(name: str, text: str) -> bool:
    """Whether the value of this parameter is a secret, or a URL with a password."""
    return is_secret_name(name) or hide_url_passwords(text) != text


def hide_url_passwords(text: str) -> str:
    """`text` with `***` in place of the password of each URL and connection string in it, and of the token."""
    if "password" in text and re.search(_IS_CONNECTION_STRING, text):
        text = re.sub(_STRING_PASSWORD, rf"\1{MASK}", text)
    if "://" not in text or "@" not in text:
        return text
    return re.sub(_URL_PASSWORD, rf"\1{MASK}", re.sub(_URL_TOKEN, rf"\1{MASK}", text))


def find_url_passwords(text: str) -> list[str]:
    """The passwords and tokens of the URLs and connection strings in `text`, as they stand there and decoded. One that
    is the name of its user, as in `postgres:postgres@localhost`, is none: masked everywhere, it would hide an ordinary
    word."""
    in_string = []
    if "password" in text and re.search(_IS_CONNECTION_STRING, text):
        in_string = [password.strip("'") for _, password in re.findall(_STRING_PASSWORD, text)]
    if "://" not in text or "@" not in text:
        return in_string
    from urllib.parse import unquote

    pairs = re.findall(_URL_PASSWORD, text)
    found = [password for before, password in pairs if before != f"://{password}:"]
    tokens = [token for _, token in re.findall(_URL_TOKEN, text)]
    found += [token for token in tokens if len(token) >= _MIN_TOKEN_LENGTH]
    return [*in_string, *found, *(unquote(one) for one in found if "%" in one)]


def secret_texts(secrets: Iterable[str]) -> tuple[str, ...]:
    """The texts to mask, the longest first, since one may be part of another. Output comes line by line, so each line
    of a secret is one of them. Each also as `repr` and JSON write it."""
    pieces = {piece.strip() for secret in secrets for piece in (secret, *secret.splitlines())}
    texts = {text for piece in pieces if len(piece) >= MIN_SECRET_LENGTH for text in _forms(piece)}
    return tuple(sorted(texts, key=lambda text: (-len(text), text)))


def _forms(secret: str) -> Iterator[str]:
    yield secret
    if secret.isascii() and secret.isprintable() and not any(one in secret for one in "\\\"'"):
        return
    import json  # few secrets need it

    for is_ascii in (True, False):
        yield json.dumps(secret, ensure_ascii=is_ascii)[1:-1]
    for write in (repr, ascii):
        quoted = write('"' + secret)[2:-1]  # in single quotes, which are escaped
        yield quoted
        yield quoted.replace("\\'", "'")


def mask_text(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, MASK)
    if secrets and "\x1b" in text:
        text = _mask_between_controls(text, secrets)
    return hide_url_passwords(text)


def _mask_between_controls(text: str, secrets: Sequence[str]) -> str:
    """Masks secrets that colours and other control sequences split. The sequences stay."""
    plain = re.sub(_CONTROL, "", text)
    for secret in secrets:
        if secret not in plain:
            continue
        pattern = f"(?:{_CONTROL})*".join(map(re.escape, secret))
        text = re.sub(pattern, lambda found: MASK + "".join(re.findall(_CONTROL, found[0])), text)
    return text
