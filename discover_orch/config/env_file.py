"""Reads the variables of `env_file` with python-dotenv, before anything else is read.

What is set in the environment already wins. The variables then count like all others, so a setting can come from the
file too.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, MutableMapping

from discover_orch.config.file import FoundConfig, find_lines, find_text
from discover_orch.model.errors import Location, ProjectError

VARIABLE = "ORCH_ENV_FILE"
#: What this process has set from the file: it goes before the file is read again.
_loaded: dict[str, str] = {}


def load_env_file(found: FoundConfig, data: bytes, environ: MutableMapping[str, str]) -> None:
    """Sets the variables of the project's file in `environ`. Raises ProjectError where it cannot be read."""
    for name, text in _loaded.items():
        if environ.get(name) == text:
            del environ[name]
    _loaded.clear()
    _loaded.update(read_env_file(found, data, environ))
    environ.update(_loaded)


def read_env_file(found: FoundConfig, data: bytes, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of the file that `environ` does not have. Raises ProjectError where it cannot be read."""
    root, config, _ = found
    path = environ.get(VARIABLE, "").strip()
    is_variable = bool(path)
    if not path and b"env_file" in data and config is not None:
        path = find_text(config, data, "env_file").strip()
    if not path:
        return {}
    try:
        text = _read_text(os.path.join(root, path))
    except (OSError, ValueError) as error:
        location = None
        if config is not None and not is_variable:
            location = Location(path=config, line=find_lines(config, data).get(("env_file",)))
        why = (error.strerror if isinstance(error, OSError) else "") or str(error)
        name = VARIABLE if is_variable else "env_file"
        hint = "create the file, with a line NAME=value for each variable, or remove the setting"
        message = f'the {name} "{path}" cannot be read: {why}'
        raise ProjectError.of("env-file", message, hint, location) from None
    from dotenv.main import DotEnv  # few projects have such a file
    from dotenv.parser import parse_stream

    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            place = Location(path=path, line=binding.original.line)
            hint = "write NAME=value with closed quotes, or begin the line with #"
            raise ProjectError.of("env-file", "this is not a NAME=value line", hint, place)
    values = DotEnv(dotenv_path=None, stream=io.StringIO(text), override=False).dict()
    return {
        name: value for name, value in values.items() if value is not None and name not in environ
    }


def _read_text(path: str) -> str:
    if not os.path.isfile(path):
        raise ValueError("it is not a file" if os.path.exists(path) else "it does not exist")
    with open(path, "rb") as file:
        data = file.read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError("it is not text in UTF-8")
    return text
