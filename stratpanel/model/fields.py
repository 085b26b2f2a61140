"""The parameters of a class as fields of a JSON object: which there are, and how one value is written and read.

`schema.py` builds on it and is what others import. Everything about a class is worked out once: Param's own look-ups
cost tens of microseconds for each field, and a registry of 1,000 strategies has 50,000 fields.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import param

from stratpanel.model.kinds import shown, text_problem
from stratpanel.model.values import Model, Values

Which = Callable[[Any], bool]
NAME_LONGEST = 200


def is_config(parameter: Any) -> bool:
    """True of a parameter that a person sets."""
    return not parameter.constant


def is_reported(parameter: Any) -> bool:
    """True of a parameter that only the supervisor sets."""
    return bool(parameter.constant)


def every(parameter: Any) -> bool:
    """True of any parameter."""
    return True


_fields: dict[tuple[type[Model], Which], Mapping[str, Any]] = {}


def fields(cls: type[Model], which: Which = every) -> Mapping[str, Any]:
    """Return the parameters of a class that are part of its JSON form, in the order of their declaration.

    Param gives every class a constant `name` ("Strategy00012"); it is a field only where a class redeclares it.
    """
    known = _fields.get((cls, which))
    if known is None:
        found = cls.param.objects(instance=False).items()
        chosen = {name: each for name, each in found if which(each) and (name != "name" or is_config(each))}
        known = _fields[cls, which] = MappingProxyType(chosen)
    return known


def nested(parameter: Any) -> type[Model] | None:
    """The class of a parameter whose JSON is an object of the model."""
    class_ = getattr(parameter, "class_", None)
    return class_ if isinstance(class_, type) and issubclass(class_, Model) else None


@dataclass(frozen=True, slots=True)
class Field:
    """One parameter, with what reading and writing its JSON needs; `part` is the class of a nested value or item."""

    name: str
    allow_none: bool
    part: type[Model] | None
    most: int | None  # for a list of parts: how many at most
    parse: Callable[[Any], Any]
    write: Callable[[Any], Any]


_plans: dict[tuple[type[Model], Which], Mapping[str, Field]] = {}


def plan(cls: type[Model], which: Which = every) -> Mapping[str, Field]:
    """Return the fields of a class, ready to read and write."""
    known = _plans.get((cls, which))
    if known is None:
        made = {name: _field(parameter) for name, parameter in fields(cls, which).items()}
        known = _plans[cls, which] = MappingProxyType(made)
    return known


def _field(parameter: Any) -> Field:
    name, allow_none, part = parameter.name, bool(parameter.allow_None), nested(parameter)
    if part is not None:
        return Field(name, allow_none, part, None, _no_value, to_json)
    if isinstance(parameter, Values):
        return Field(name, allow_none, parameter.item_type, parameter.most, _no_value, _write_list)
    write = getattr(parameter, "to_json", _write_plain)
    return Field(name, allow_none, None, None, _parser(parameter), write)


def _no_value(raw: Any) -> Any:
    raise TypeError("an object of the model is read field by field")


# ---------------------------------------------------------------- writing


def to_json(subject: Model, which: Which = every) -> dict[str, Any]:
    """Return the JSON form of `subject`, nested, sharing nothing with it."""
    written: dict[str, Any] = {}
    for name, field in plan(type(subject), which).items():
        value = getattr(subject, name)
        written[name] = None if value is None else field.write(value)
    return written


def value_to_json(parameter: Any, value: Any) -> Any:
    """Return one value as JSON."""
    return None if value is None else _field(parameter).write(value)


def _write_list(value: list[Any]) -> list[dict[str, Any]]:
    return [to_json(item) for item in value]


def _write_plain(value: Any) -> Any:
    """A number that is not finite is unknown, so null; an enumeration is its text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, str) else value


# ---------------------------------------------------------------- reading


def _parser(parameter: Any) -> Callable[[Any], Any]:
    """Return what makes a value of JSON, or raises ValueError with the sentence that says why it is none."""
    if hasattr(parameter, "from_json"):
        parse: Callable[[Any], Any] = parameter.from_json
        return parse
    if isinstance(parameter, param.Boolean):
        return _parse_truth
    if isinstance(parameter, param.Number):
        whole = isinstance(parameter, param.Integer)
        low, high = parameter.bounds or (None, None)
        return lambda raw: _parse_number(raw, whole, low, high)
    if isinstance(parameter, param.Selector):
        choices = {str(choice): choice for choice in parameter.objects}
        return lambda raw: _parse_choice(raw, choices)
    if isinstance(parameter, param.String):
        return _parse_name
    raise TypeError(
        f"{parameter.owner.__name__}.{parameter.name}: no JSON form is known for {type(parameter).__name__}"
    )


def _parse_truth(raw: Any) -> bool:
    if not isinstance(raw, bool):
        raise ValueError(f"{shown(raw)} is not true or false")
    return raw


def _parse_choice(raw: Any, choices: dict[str, Any]) -> Any:
    if not isinstance(raw, str) or raw not in choices:
        raise ValueError(f"{shown(raw)} is not one of {', '.join(choices)}")
    return choices[raw]


def _parse_number(raw: Any, whole: bool, low: float | None, high: float | None) -> int | float:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or (isinstance(raw, float) and not math.isfinite(raw)):
        raise ValueError(f"{shown(raw)} is not a {'whole ' if whole else ''}number")
    if whole and isinstance(raw, float):
        if not raw.is_integer():
            raise ValueError(f"{shown(raw)} is not a whole number")
        raw = int(raw)
    number: int | float = raw
    if low is not None and number < low:
        raise ValueError(f"{shown(raw)} is less than {low:g}")
    if high is not None and number > high:
        raise ValueError(f"{shown(raw)} is more than {high:g}")
    return number


def _parse_name(raw: Any) -> str:
    """A plain String: only `name`, which Param does not let be of another kind."""
    problem = text_problem(raw)
    if problem:
        raise ValueError(problem)
    if len(raw) > NAME_LONGEST:
        raise ValueError(f"has {len(raw)} characters, the most is {NAME_LONGEST}")
    if any(ord(character) < 32 or ord(character) == 127 for character in raw):
        raise ValueError(f"{shown(raw)} is not a name of one line")
    return str(raw)
