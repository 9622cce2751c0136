"""Finds the project's root and reads its configuration, `orch.toml` or `[tool.orch]` in `pyproject.toml`, and the
variables of its `env_file`. Gives a `Project` and warnings, or raises a `ProjectError` with all problems.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, MutableMapping
from functools import cache, partial
from itertools import takewhile

from discover_orch.config.project import Project
from discover_orch.config.setting_values import KeyPath, ReadLines, printable
from discover_orch.model.conventions import VARIABLE_PREFIX
from discover_orch.model.errors import Location, Problem, ProjectError
from discover_orch.model.secret_masking import name_secrets

OWN_FILE = "orch.toml"
SHARED_FILE = "pyproject.toml"
SHARED_TABLE = ("tool", "orch")
_ONE_KEY = r"[\w-]+|\"[^\"]*\"|'[^']*'"
#: Not compiled here: that takes a millisecond, and few commands look for lines.
_KEY = rf"\s*((?:{_ONE_KEY})(?:\s*\.\s*(?:{_ONE_KEY}))*)\s*="
_HEADER = r"\s*\[([^\[\]]+)\]"
ENV_FILE_VARIABLE = "ORCH_ENV_FILE"
_TOML_HINT = "quote strings, put commas between values, close brackets, and set each key once"

# The absolute root; the name of its configuration file, if any; the name of a second one, which is ignored.
FoundConfig = tuple[str, str | None, str | None]


def find_root(start: str, explicit: str | None = None) -> FoundConfig:
    """The nearest folder upwards that has a configuration, else `start`; `explicit` (`-C`) if given."""
    try:
        here = os.path.abspath(start)
    except FileNotFoundError:
        raise ProjectError.of(
            "no-project", "the current folder no longer exists", "change to another folder"
        ) from None
    if explicit is not None:
        root = os.path.normpath(os.path.join(here, explicit))
        _check_folder(explicit, root)
        return (root, *_find_config(root))
    folder, parent = here, os.path.dirname(here)
    while True:
        config, ignored = _find_config(folder)
        if config:
            return folder, config, ignored
        if parent == folder:
            return here, None, None
        folder, parent = parent, os.path.dirname(parent)


def read_config_bytes(root: str, config: str | None) -> bytes:
    """The bytes of the file; none where there is no file. Raises ProjectError."""
    if config is None:
        return b""
    try:
        with open(os.path.join(root, config), "rb") as file:
            return file.read()
    except OSError as error:
        message = f"the configuration cannot be read: {error.strerror or error}"
        hint = "change its permissions, or choose another project with -C"
        raise ProjectError.of("unreadable", message, hint, Location(path=config)) from None


def build_project(
    found: FoundConfig, data: bytes, environ: Mapping[str, str]
) -> tuple[Project, tuple[Problem, ...]]:
    """The project that these bytes describe, and warnings. Raises ProjectError with all that is wrong."""
    root, config, ignored = found
    table: Mapping[str, object] = {}
    name: object = ""
    read_lines: ReadLines = dict
    if config is not None:
        document = _parse(config, data)
        distribution = document.get("project")
        if config == SHARED_FILE and isinstance(distribution, Mapping):
            name = distribution.get("name", "")
        table = _find_table(config, document)
        read_lines = cache(partial(find_lines, config, data))
    project, problems = Project.from_table(
        table,
        root=root,
        config=config,
        environ=environ,
        name=name if isinstance(name, str) else "",
        read_lines=read_lines,
    )
    _, missing = _find_packages(project, read_lines)
    if ignored:
        message = f"[tool.orch] in {ignored} is ignored, because {config} exists"
        hint = "keep the settings in one of the two files"
        problems += (
            Problem(
                code="two-configurations",
                message=message,
                hint=hint,
                path=ignored,
                severity="warning",
            ),
        )
    problems += missing
    if any(problem.severity == "error" for problem in problems):
        raise ProjectError(*problems)
    name_secrets(project.secrets)
    return project, problems


def resolve_packages(project: Project) -> tuple[str, ...]:
    """The absolute folders to scan. The default, `src`, need not exist. Raises ProjectError."""
    folders, problems = _find_packages(project, partial(_read_lines, project))
    if problems:
        raise ProjectError(*problems)
    return folders


def find_package_places(project: Project) -> tuple[str, ...]:
    """The absolute folders to scan, with those that are missing now and would be scanned if they appeared."""
    roots = [*project.absolute_pythonpath]
    places = (_find_places(project.root, roots, package) for package in project.packages)
    return tuple(dict.fromkeys(place for found in places for place in found))


def find_text(config: str, data: bytes, key: str) -> str:
    """A setting that is a text, before the project is built. "" where the file has none, or is not valid: building the
    project reports that."""
    try:
        found = _find_table(config, _parse(config, data)).get(key)
    except ProjectError:
        return ""
    return found if isinstance(found, str) else ""


def find_line(project: Project, keys: KeyPath) -> int | None:
    """The line of a setting of the file, or of the table that has it; None where the file does not set it. Dashes and
    underscores are alike."""
    lines = {
        tuple(key.replace("-", "_") for key in path): line
        for path, line in _read_lines(project).items()
    }
    wanted = tuple(key.replace("-", "_") for key in keys)
    return next(
        (lines[wanted[:size]] for size in range(len(wanted), 0, -1) if wanted[:size] in lines), None
    )


def name_table(project: Project, name: str) -> str:
    """A table of the settings as this project writes it: `[tokens]` in orch.toml, else `[tool.orch.tokens]`."""
    return f"[{name}]" if project.config == OWN_FILE else f"[{'.'.join(SHARED_TABLE)}.{name}]"


def name_setting(project: Project, key: str) -> str:
    """How a hint names a setting and where it is set: `stages in orch.toml:3`, or `ORCH_STAGES`."""
    origin = project.origins.get(key, project.config) or "the configuration"
    if origin.startswith(VARIABLE_PREFIX):
        return origin
    line = find_line(project, (key,))
    return f"{key} in {origin if line is None else Location(path=origin, line=line)}"


# The file.


def _find_config(folder: str) -> tuple[str | None, str | None]:
    """The configuration file of the folder, and a second one that is ignored."""
    has_own = os.path.isfile(os.path.join(folder, OWN_FILE))
    has_shared = os.path.isfile(os.path.join(folder, SHARED_FILE)) and _has_table(
        read_config_bytes(folder, SHARED_FILE)
    )
    if has_own:
        return OWN_FILE, SHARED_FILE if has_shared else None
    return (SHARED_FILE if has_shared else None), None


def _has_table(data: bytes) -> bool:
    """Whether a pyproject.toml has `[tool.orch]`: by its bytes where they are clear, else parsed."""
    for header in (b"\n[tool.orch]", b"\n[tool.orch."):
        before, found, _ = (b"\n" + data).partition(header)
        if found and b'"""' not in before and b"'''" not in before:
            return True
    if not re.search(rb"(?<![\w-])orch(?![\w-])", data):
        return False
    try:
        tool = _parse(SHARED_FILE, data).get("tool")
    except ProjectError:
        return True  # it may have the table; reading it reports the error
    return isinstance(tool, Mapping) and "orch" in tool


def _decode(config: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = "the configuration is not UTF-8"
        raise ProjectError.of(
            "encoding", message, "save it as UTF-8", Location(path=config, line=line)
        ) from None


def _find_table(config: str, document: Mapping[str, object]) -> Mapping[str, object]:
    """The table of the settings. Raises ProjectError."""
    if config == OWN_FILE and "tool" in document:
        message = "in orch.toml the settings are at the top level"
        raise ProjectError.of("unknown-key", message, "remove [tool.orch]", Location(path=config))
    table: object = document
    for key in _table_path(config):
        table = table.get(key) if isinstance(table, Mapping) else None
    if isinstance(table, Mapping):
        return table
    message, hint = "tool.orch must be a table", "write [tool.orch] above the settings"
    raise ProjectError.of("wrong-type", message, hint, Location(path=config))


def _table_path(config: str) -> KeyPath:
    return () if config == OWN_FILE else SHARED_TABLE


def _parse(config: str, data: bytes) -> dict[str, object]:
    import tomllib  # takes 2.5 ms, and many projects have no file

    text = _decode(config, data)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Its message ends in "(at line 3, column 5)" or "(at end of document)".
        reason, _, place = str(error).partition(" (at ")
        number = re.match(r"line (\d+)", place)
        line = int(number[1]) if number else text.rstrip("\n").count("\n") + 1
        message = f"not valid TOML: {reason[:1].lower()}{reason[1:]}"
        location = Location(path=config, line=line)
        raise ProjectError.of("toml", message, _TOML_HINT, location) from None
    except (ValueError, RecursionError):
        message = "not valid TOML: a number has too many digits, or values are nested too deeply"
        raise ProjectError.of("toml", message, "simplify the file", Location(path=config)) from None


def _check_folder(typed: str, folder: str) -> None:
    if not os.path.isdir(folder):
        name = printable(typed)
        is_there = os.path.exists(folder)
        message = f'"{name}" is not a folder' if is_there else f'folder "{name}" does not exist'
        hint = "-C takes the folder of the project; for a new one, create the folder first"
        raise ProjectError.of("no-project", message, hint)


# Packages.


def _find_packages(
    project: Project, read_lines: ReadLines
) -> tuple[tuple[str, ...], tuple[Problem, ...]]:
    origin = project.origins.get("packages")
    is_in_file = origin is not None and origin == project.config
    setting = "packages" if is_in_file else "ORCH_PACKAGES"
    roots = [*project.absolute_pythonpath]
    folders: list[str] = []
    problems: list[Problem] = []
    for package in project.packages:
        folder = _find_places(project.root, roots, package)[-1]
        shown = f'"{printable(package)}" in {setting}'
        if origin is None:
            shown = f'"{package}", the default of packages,'
        if not os.path.isdir(folder):
            if origin is None:
                continue
            code = "missing-package"
            message = f"{shown} is neither a folder nor a package under pythonpath"
            hint = "create it, or remove it from the list"
        elif not any(_is_inside(folder, root) for root in roots):
            code = "outside-pythonpath"
            message = f"{shown} is outside of pythonpath, so its modules cannot be imported"
            hint = f'add "{_relative(os.path.dirname(folder), project.root)}" to pythonpath'
        else:
            folders.append(folder)
            continue
        location = None
        if is_in_file and origin:
            location = Location(path=origin, line=read_lines().get(("packages",)))
        problems.append(Problem(code=code, message=message, hint=hint).at(location))
    return tuple(dict.fromkeys(folders)), tuple(problems)


def _find_places(root: str, roots: list[str], package: str) -> list[str]:
    """Where a package may be: a folder relative to the root, else a dotted package under `pythonpath`. The first that
    exists ends the list."""
    candidates = [os.path.join(root, package)]
    parts = package.split(".")
    if all(part.isidentifier() for part in parts):
        candidates += [os.path.join(path, *parts) for path in roots]
    missing = [*takewhile(lambda path: not os.path.isdir(path), candidates)]
    return [*map(os.path.normpath, candidates[: len(missing) + 1])]


def _is_inside(folder: str, root: str) -> bool:
    return folder == root or folder.startswith(root.rstrip(os.sep) + os.sep)


def _relative(folder: str, root: str) -> str:
    return os.path.relpath(folder, root).replace(os.sep, "/")


# Lines.


def find_lines(config: str, data: bytes) -> dict[KeyPath, int]:
    """The line of each key and header in the table of the settings, by its path there.

    `tomllib` does not tell lines. Keys of an inline table have none, and neither has what is in an array of tables.
    """
    found: dict[KeyPath, int] = {}
    section: KeyPath = ()
    for number, line in enumerate(_decode(config, data).split("\n"), start=1):
        if (match := re.match(_HEADER, line)) is not None:
            section = path = _split_keys(match[1])
        elif (match := re.match(_KEY, line)) is not None:
            path = (*section, *_split_keys(match[1]))
        else:
            continue
        for size in range(1, len(path) + 1):
            found.setdefault(path[:size], number)
    prefix = _table_path(config)
    size = len(prefix)
    return {path[size:]: line for path, line in found.items() if path[:size] == prefix}


def _split_keys(text: str) -> KeyPath:
    return tuple(key.strip("\"'") for key in re.findall(_ONE_KEY, text))


def _read_lines(project: Project) -> Mapping[KeyPath, int]:
    """The lines of a project whose file was not read now."""
    if project.config is None:
        return {}
    try:
        data = read_config_bytes(project.root, project.config)
        _parse(project.config, data)
    except ProjectError:
        return {}
    return find_lines(project.config, data)


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
    path = environ.get(ENV_FILE_VARIABLE, "").strip()
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
        name = ENV_FILE_VARIABLE if is_variable else "env_file"
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
