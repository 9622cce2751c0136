"""The values of parameters as texts that staleness compares: equal exactly where `run()` gets equal values.

`--unit FAHRENHEIT` and `--unit fahrenheit` are one member of an Enum, `./x` and `x` one path, and a default that was
typed is the default. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from discover_orch.config.project import Project
from discover_orch.discovery.registry import Registry
from discover_orch.model.parameter import (
    Choice,
    ConvertError,
    EnumChoice,
    EnumMember,
    Param,
    Scalar,
    convert_one,
    hide_url_passwords,
    is_secret_name,
)
from discover_orch.model.tool import Tool
from discover_orch.planning.param_values import (
    BoundArgument,
    GivenParams,
    extra_arguments,
    find_arguments,
)

#: The version of a default that cannot be read from the source.
DEFAULT = "default"
#: Versions with a meaning: a default, None, and what staleness writes for absent and unknown versions.
_RESERVED = frozenset((DEFAULT, "None", "", "?", "-"))
#: The types of literals that are values of these types as they are.
_TYPES: Mapping[str, type] = {"str": str, "int": int, "float": float, "bool": bool}


def param_versions(
    tool: Tool, registry: Registry, project: Project, values: GivenParams
) -> dict[str, str]:
    """What a tool would get for its parameters, valid or not, as `argument_versions` has it."""
    bound = find_arguments(tool, registry, project, values)
    return argument_versions(tool, bound, extra_arguments(tool, values, registry), project.root)


def argument_versions(
    tool: Tool, arguments: Iterable[BoundArgument], extra: Mapping[str, str], root: str
) -> dict[str, str]:
    """A text for the value of each parameter, by name, equal exactly where the values are.

    Of a parameter that is not given it is the text of the default, or `default` where the source does not tell the
    default. No version is empty. Left out are secrets, and required parameters that are not given. Paths below the
    root are relative to it, so that a project can be moved. URLs are without their passwords.
    """
    given = {bound.param.name: bound for bound in arguments}
    found = {
        param.name: _version(param, given[param.name].effective, root)
        for param in tool.params
        if param.name in given and not param.is_secret
    }
    defaults = default_versions(tool, root)
    extras = {name: _quote(text) for name, text in extra.items() if not is_secret_name(name)}
    versions = defaults | found | extras
    return {name: hide_url_passwords(text) for name, text in versions.items()}


def default_versions(tool: Tool, root: str) -> dict[str, str]:
    """The versions of the defaults in the code, without secrets and required parameters."""
    return {
        param.name: _default_version(param, root)
        for param in tool.params
        if not param.required and not param.is_secret
    }


def _version(param: Param, texts: Sequence[str], root: str) -> str:
    try:
        return _value_version(param, _converted(param, texts), root)
    except ConvertError:
        return json.dumps(list(texts))


def _default_version(param: Param, root: str) -> str:
    if param.default_source == "None":
        return "None"
    try:
        return _value_version(param, _default_value(param), root)
    except ConvertError:
        return DEFAULT


def _default_value(param: Param) -> object:
    """The default as a typed text would be converted. Raises ConvertError where the source does not tell it, or where
    it has another type than what is typed."""
    if param.default_texts:
        return _converted(param, param.default_texts)
    base, value = param.type.base, param.default
    if not param.type.many:
        return _literal_value(base, value)
    if not isinstance(value, list) or not (param.default_source or "").startswith("["):
        raise ConvertError("not a list")  # a tuple is another value than the list that is typed
    return [_literal_value(base, one) for one in value]


def _literal_value(base: Scalar | Choice | EnumChoice, value: object) -> object:
    """A literal of the type as it is; a whole number counts as a float."""
    kind = type(value)
    match base:
        case Scalar(kind=name) if kind is _TYPES.get(name):
            return value
        case Scalar(kind="float") if kind is int:
            return convert_one(base, str(value))
        case Choice(values=values) if (kind, value) in [(type(one), one) for one in values]:
            return value
    raise ConvertError("not of the type")


def _converted(param: Param, texts: Sequence[str]) -> object:
    if not texts and not param.type.many:
        raise ConvertError("expected one value, got a list")
    return param.convert(texts)


def _value_version(param: Param, value: object, root: str) -> str:
    base = param.type.base
    if isinstance(value, list):
        return json.dumps([_text_of(base, one, root) for one in value], ensure_ascii=False)
    text = _text_of(base, value, root)
    is_plain = isinstance(base, Scalar) and base.kind not in ("str", "path")
    return text if is_plain else _quote(text)


def _text_of(base: Scalar | Choice | EnumChoice, value: object, root: str) -> str:
    """The text of one converted value, which no other value of the type has."""
    match base:
        case Scalar(kind="path"):
            return _relative(str(value), root)
        case EnumChoice() if isinstance(value, EnumMember):
            return base.text_of(value.name) or value.name
        case Choice(values=values) if isinstance(value, str):
            is_taken = any(str(other) == value for other in values if not isinstance(other, str))
            return json.dumps(value) if is_taken else value
    return str(value)


def _relative(path: str, root: str) -> str:
    return "." if path == root else path.removeprefix(root.rstrip("/") + "/")


def _quote(text: str) -> str:
    """The text, in quotes where it could be taken for something else than a text."""
    is_clear = text not in _RESERVED and not text.startswith(('"', "["))
    return text if is_clear else json.dumps(text, ensure_ascii=False)
