"""From the Param classes to JSON Schema, and from JSON to their values: reading, patching, describing.

The registry, the API and the client read and write the model through it. Reading collects every error with its path;
`true` is no number, an instant keeps its offset, and nothing is set unless everything is right.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Literal, TypeVar

import param

from stratpanel.model.errors import InvalidValue
from stratpanel.model.fields import (
    NAME_LONGEST,
    Field,
    Which,
    every,
    fields,
    is_config,
    is_reported,
    nested,
    plan,
    to_json,
    value_to_json,
)
from stratpanel.model.kinds import shown
from stratpanel.model.merge import merge_patch
from stratpanel.model.values import Model, Values

__all__ = [
    "checked_patch",
    "components",
    "field_schema",
    "fields",
    "is_config",
    "is_reported",
    "json_schema",
    "patch",
    "read",
    "refuse",
    "to_json",
    "value_to_json",
]

M = TypeVar("M", bound=Model)
Errors = dict[str, str]
Form = Literal["whole", "patch", "answer"]
_MOST_ERRORS = 100


def read(
    cls: type[Model],
    data: object,
    path: str = "",
    *,
    which: Which = is_config,
    keep_unknown: bool = False,
) -> dict[str, Any]:
    """Return the values in `data` of the parameters of `cls`; InvalidValue naming every bad field if there is one.

    A missing field is absent from the answer, so that it takes its default. An unknown field is an error unless
    `keep_unknown` (the registry, which keeps them itself).
    """
    errors: Errors = {}
    values = _read_object(cls, data, path, errors, which, keep_unknown)
    if not errors:
        errors.update(_cross_check(cls, values, path))
    refuse(errors)
    return values


def refuse(errors: Errors) -> None:
    """Raise InvalidValue if there are errors; its message is the first of them and how many more there are."""
    if not errors:
        return
    first, sentence = next(iter(errors.items()))
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    raise InvalidValue(f"{first + ': ' if first else ''}{sentence}{more}", fields=errors)


def patch(subject: Model, changes: object, path: str = "") -> dict[str, Any]:
    """Apply an RFC 7396 merge patch to the configuration of `subject`, in one batch; all of it or none.

    Returns the values that were set. Null resets a field to its default.
    """
    values = checked_patch(subject, changes, path)
    subject.param.update(**values)
    return values


def checked_patch(subject: Model, changes: object, path: str = "") -> dict[str, Any]:
    """Return the values that a merge patch would set, without setting them; InvalidValue if any is bad."""
    if not isinstance(changes, dict):
        raise InvalidValue("the body is not a JSON object", fields={path: "is not an object"})
    errors: Errors = {}
    _unknown_in_patch(type(subject), changes, path, errors)
    refuse(errors)
    current = to_json(subject, is_config)
    after = merge_patch(current, changes)
    values = read(type(subject), after, path)
    known = fields(type(subject), is_config)
    return {
        name: values[name] if name in values else _default(known[name])
        for name in changes
        if name not in after or after[name] != current.get(name)
    }


def _default(parameter: Any) -> Any:
    """A default that an instance may keep: lists and dicts are copied, values are replaced whole anyway."""
    value = parameter.default
    return type(value)(value) if isinstance(value, list | dict) else value


def _unknown_in_patch(cls: type[Model], changes: dict[str, Any], path: str, errors: Errors) -> None:
    settable = plan(cls, is_config)
    for key, value in changes.items():
        where = _join(path, key)
        if key not in settable:
            _note(errors, where, _unsettable(cls, key))
        elif (part := settable[key].part) is not None and isinstance(value, dict):
            _unknown_in_patch(part, value, where, errors)


def _unsettable(cls: type[Model], key: str) -> str:
    return "is reported by the supervisor and cannot be set" if key in fields(cls) else "is not a field"


def _read_object(
    cls: type[Model], data: object, path: str, errors: Errors, which: Which, keep_unknown: bool
) -> dict[str, Any]:
    if not isinstance(data, dict):
        _note(errors, path, f"{shown(data)} is not an object")
        return {}
    settable = plan(cls, which)
    values: dict[str, Any] = {}
    for key, raw in data.items():
        where = _join(path, key)
        field = settable.get(key)
        if field is not None:
            _read_field(field, raw, where, errors, keep_unknown, into=values)
        elif not keep_unknown:
            _note(errors, where, _unsettable(cls, key))
    return values


def _read_field(
    field: Field, raw: object, path: str, errors: Errors, keep_unknown: bool, *, into: dict[str, Any]
) -> None:
    if raw is None:
        if field.allow_none:
            into[field.name] = None
        else:
            _note(errors, path, "may not be null")
    elif field.part is None:
        try:
            into[field.name] = field.parse(raw)
        except ValueError as problem:
            _note(errors, path, str(problem))
    elif field.most is not None:
        into[field.name] = _read_list(field.part, field.most, raw, path, errors, keep_unknown)
    else:
        value = _read_value(field.part, raw, path, errors, keep_unknown)
        if value is not None:
            into[field.name] = value


def _read_value(cls: type[M], raw: object, path: str, errors: Errors, keep_unknown: bool) -> M | None:
    before = len(errors)
    values = _read_object(cls, raw, path, errors, is_config, keep_unknown)
    if len(errors) > before:
        return None
    value = cls(**values)
    for where, problem in value.check().items():
        _note(errors, _join(path, where), problem)
    return value


def _read_list(cls: type[M], most: int, raw: object, path: str, errors: Errors, keep_unknown: bool) -> list[M]:
    if not isinstance(raw, list):
        _note(errors, path, f"{shown(raw)} is not a list")
        return []
    if len(raw) > most:
        _note(errors, path, f"has {len(raw)} items, the most is {most}")
        return []
    found = [_read_value(cls, item, f"{path}[{index}]", errors, keep_unknown) for index, item in enumerate(raw)]
    return [item for item in found if item is not None]


def _cross_check(cls: type[Model], values: dict[str, Any], path: str) -> Errors:
    """Rules between fields, asked of an object made of `values`."""
    if cls.check is Model.check:
        return {}
    return {_join(path, where): problem for where, problem in cls(**values).check().items()}


def _join(path: str, key: str) -> str:
    plain = key if key.isidentifier() else json.dumps(key[:100], ensure_ascii=False)
    return f"{path}.{plain}" if path else plain


def _note(errors: Errors, path: str, problem: str) -> None:
    if len(errors) < _MOST_ERRORS:
        errors[path] = problem


# ---------------------------------------------------------------- describing


def json_schema(
    cls: type[Model], which: Which = every, *, refs: str = "#/$defs/", form: Form = "whole"
) -> dict[str, Any]:
    """Return the JSON Schema of an object of `cls`; nested classes are `$ref`s below `refs`, see `components()`.

    `form` is "whole" for a configuration, "patch" for a merge patch of it (every field also null, nested objects
    patches themselves), "answer" for what the API says, which may gain fields.
    """
    properties = {name: field_schema(parameter, refs, form) for name, parameter in fields(cls, which).items()}
    found: dict[str, Any] = {"title": _title(cls, form), "type": "object", "properties": properties}
    if cls.__doc__:
        found["description"] = cls.__doc__.strip().partition("\n")[0]
    if form != "answer":
        found["additionalProperties"] = False
    return found


def _title(cls: type[Model], form: Form) -> str:
    return cls.__name__ + ("Patch" if form == "patch" else "")


def components(classes: Iterable[type[Model]], refs: str, form: Form = "whole") -> dict[str, Any]:
    """Return the schemas of `classes` and of all they hold, by class name; those of patches end in "Patch"."""
    found: dict[str, Any] = {}
    waiting = list(classes)
    while waiting:
        cls = waiting.pop()
        name = _title(cls, form)
        if name in found:
            continue
        found[name] = json_schema(cls, refs=refs, form=form)
        for parameter in fields(cls).values():
            inner = nested(parameter)
            if inner is None and isinstance(parameter, Values) and form != "patch":  # a patch replaces lists whole
                inner = parameter.item_type
            if inner is not None:
                waiting.append(inner)
    return dict(sorted(found.items()))


def field_schema(parameter: Any, refs: str = "#/$defs/", form: Form = "whole") -> dict[str, Any]:
    """Return the JSON Schema of one parameter: type, bounds, pattern, default, description, readOnly."""
    part = nested(parameter)
    if form == "patch" and part is not None:
        found: dict[str, Any] = {"$ref": refs + _title(part, form)}
    else:
        found = _type_schema(parameter, refs)
    if form == "patch" and found.get("additionalProperties", True) is not True:
        found["additionalProperties"] = _or_null(found["additionalProperties"])
    if parameter.allow_None or form == "patch":
        found = _or_null(found)
    if parameter.doc:
        found["description"] = parameter.doc
    if is_reported(parameter):
        found["readOnly"] = True
    elif form == "whole":
        found["default"] = value_to_json(parameter, parameter.default)
    return found


def _or_null(found: dict[str, Any]) -> dict[str, Any]:
    if isinstance(found.get("type"), str) and "enum" not in found:
        return {**found, "type": [found["type"], "null"]}
    return {"anyOf": [found, {"type": "null"}]}


def _type_schema(parameter: Any, refs: str) -> dict[str, Any]:
    part = nested(parameter)
    if part is not None:
        return {"$ref": f"{refs}{part.__name__}"}
    if isinstance(parameter, Values):
        items = {"$ref": f"{refs}{parameter.item_type.__name__}"}
        return {"type": "array", "items": items, "maxItems": parameter.most}
    if hasattr(parameter, "json_schema"):
        return dict(parameter.json_schema())
    if isinstance(parameter, param.Boolean):
        return {"type": "boolean"}
    if isinstance(parameter, param.Number):
        low, high = parameter.bounds or (None, None)
        bounds = {"minimum": low, "maximum": high}
        kind = "integer" if isinstance(parameter, param.Integer) else "number"
        return {"type": kind, **{key: bound for key, bound in bounds.items() if bound is not None}}
    if isinstance(parameter, param.Selector):
        return {"type": "string", "enum": [str(choice) for choice in parameter.objects]}
    if isinstance(parameter, param.String):
        return {"type": "string", "maxLength": NAME_LONGEST, "pattern": r"^[^\x00-\x1f\x7f]*$"}
    raise TypeError(f"{parameter.owner.__name__}.{parameter.name}: no JSON Schema for {type(parameter).__name__}")
