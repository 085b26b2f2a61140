"""Forms made from the Param classes of the model: a widget per parameter, checked by the model's own rules as one
types.

The settings and schedule tabs and the new-strategy page use it. It knows kinds of parameters, never a single field;
what is
wrong is said under the field it is about, in the model's words.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import panel as pn
import param

from stratpanel.dashboard import material
from stratpanel.dashboard.look import FONT
from stratpanel.model import schema
from stratpanel.model.errors import InvalidValue
from stratpanel.model.kinds import Days, IdOrCommand, JsonObject, Texts, Variables
from stratpanel.model.values import Model

WEEKDAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Read = Callable[[Any], Any]
Show = Callable[[Any], Any]


LABELS = {
    "user_id": "Owner",
    "cwd": "Working directory",
    "args": "Arguments",
    "env": "Environment",
    "params": "Parameters",
    "memory_mb": "Memory, MiB",
    "max_mb": "Rotated at, MiB",
    "keep": "Rotated files kept",
    "nofile": "Open files",
    "grace_s": "Grace, s",
    "start_seconds": "Counts as started after, s",
    "window_s": "Counted over, s",
    "backoff_s": "First wait, s",
    "backoff_max_s": "Longest wait, s",
    "stable_s": "Stable after, s",
    "quiet_after": "Quiet after, s",
    "watchdog_s": "Watchdog, s",
    "on_special": "Special sessions too",
    "nice": "Nice level",
}


def words(name: str) -> str:
    """A parameter's name as a label."""
    if name in LABELS:
        return LABELS[name]
    return name.replace("_", " ").capitalize()


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def _variables(text: str) -> dict[str, str]:
    found = {}
    for line in _lines(text):
        name, equals, value = line.partition("=")
        if not equals:
            raise ValueError(f'"{line}" is not NAME=value')
        found[name.strip()] = value
    return found


def _number(text: str) -> float | int:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f'"{text}" is not a number') from None
    return int(number) if number.is_integer() else number


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from None


def _command(text: str) -> Any:
    return json.loads(text) if text.startswith("[") else text


class Field:
    """One parameter and its widget; the value goes in and out as the API's JSON."""

    def __init__(
        self,
        name: str,
        parameter: Any,
        *,
        label: str = "",
        options: Iterable[str] | None = None,
        width: int | None = None,
    ) -> None:
        self.name = name
        self.parameter = parameter
        self.hint = str(parameter.doc or "").replace("null", "empty") if width is None else ""
        self.nullable = bool(parameter.allow_None)
        self._options = options
        self.widget, self._read, self._show, self._typed = self._made(label or words(name), width)

    def _made(self, label: str, width: int | None) -> tuple[Any, Read, Show, str]:
        kind = self.parameter
        base: dict[str, Any] = {
            "label": label,
            "size": "small",
            "margin": (8, 8, 4, 0),
            "sizing_mode": "stretch_width" if width is None else "fixed",
        }
        if width is not None:
            base["width"] = width
        helped = {**base, "helper_text": self.hint}
        if isinstance(kind, Days):
            return (
                material.CheckButtonGroup(options=WEEKDAYS, size="small", margin=(10, 8, 4, 0), button_type="primary"),
                list,
                list,
                "value",
            )
        if isinstance(kind, param.Boolean):
            return (
                material.Checkbox(**{**base, "label": self.hint[:1].upper() + self.hint[1:] if not width else label}),
                bool,
                bool,
                "value",
            )
        if isinstance(kind, param.Selector):
            return material.Select(options=list(kind.objects), **helped), str, str, "value"
        if self._options is not None:
            return (
                material.AutocompleteInput(
                    options=list(self._options), restrict=False, min_characters=0, case_sensitive=False, **helped
                ),
                str,
                self._text,
                "value",
            )
        if isinstance(kind, param.Number):
            return (
                material.TextInput(**helped),
                _number,
                lambda value: f"{value:g}" if isinstance(value, float) else str(value),
                "value_input",
            )
        if isinstance(kind, Variables):
            return (
                material.TextAreaInput(rows=3, max_rows=12, auto_grow=True, placeholder="NAME=value", **helped),
                _variables,
                lambda value: "\n".join(f"{k}={v}" for k, v in value.items()),
                "value_input",
            )
        if isinstance(kind, JsonObject):
            return (
                material.TextAreaInput(rows=2, max_rows=12, auto_grow=True, **helped),
                _json,
                lambda value: json.dumps(value, indent=1) if value else "",
                "value_input",
            )
        if isinstance(kind, Texts):
            if self.name == "tags":
                return (
                    material.TextInput(placeholder="comma separated", **helped),
                    lambda text: [word.strip() for word in text.split(",") if word.strip()],
                    ", ".join,
                    "value_input",
                )
            return (
                material.TextAreaInput(rows=2, max_rows=12, auto_grow=True, placeholder="one per line", **helped),
                _lines,
                "\n".join,
                "value_input",
            )
        if isinstance(kind, IdOrCommand):
            return (
                material.TextInput(**helped),
                _command,
                lambda value: json.dumps(value) if isinstance(value, list) else str(value),
                "value_input",
            )
        if self.name == "notes":
            return material.TextAreaInput(rows=3, max_rows=20, auto_grow=True, **helped), str, self._text, "value_input"
        return material.TextInput(**helped), str, self._text, "value_input"

    @staticmethod
    def _text(value: Any) -> str:
        return "" if value is None else str(value)

    def show(self, value: Any) -> None:
        """Put a JSON value into the widget."""
        shown: Any = (
            "" if value is None and self._typed == "value_input" else self._show(value) if value is not None else None
        )
        changes = {"value": shown}
        if self._typed == "value_input":
            changes["value_input"] = shown
        self.widget.param.update(**changes)

    def read(self) -> Any:
        """The JSON value in the widget. Raises ValueError in words."""
        raw = getattr(self.widget, self._typed)
        if raw is None and self._typed == "value_input":
            raw = self.widget.value
        if raw is None and self._options is not None:
            raw = ""
        if isinstance(raw, str):
            raw = raw.strip() if self._read is not str or self.name != "notes" else raw
            if raw == "":
                return (
                    None
                    if self.nullable
                    else {}
                    if isinstance(self.parameter, Variables | JsonObject)
                    else []
                    if isinstance(self.parameter, Texts)
                    else self._empty()
                )
        return self._read(raw)

    def _empty(self) -> Any:
        if isinstance(self.parameter, param.Number):
            raise ValueError("is missing")
        return ""

    def complain(self, problem: str | None) -> None:
        """Say under the field what is wrong, or its description when nothing is."""
        if hasattr(self.widget, "error_state"):
            text = problem or self.hint
            if self.widget.error_state != bool(problem) or self.widget.helper_text != text:
                self.widget.param.update(error_state=bool(problem), helper_text=text)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call at each key stroke or choice."""
        names = ["value"] if self._typed == "value" else ["value_input", "value"]
        self.widget.param.watch(lambda *_events: changed(), names)


class Fields:
    """Some parameters of one model class, under one path of the configuration."""

    def __init__(self, cls: type[Model], names: Iterable[str], path: str = "", **made: Any) -> None:
        known = schema.fields(cls, schema.is_config)
        self.path = path
        self.fields = {name: Field(name, known[name], **made) for name in names}

    def show(self, config: Mapping[str, Any]) -> None:
        """Put values in."""
        for name, field in self.fields.items():
            field.show(config.get(name))

    def read(self, errors: dict[str, str]) -> dict[str, Any]:
        """Values out; what cannot be read goes to `errors` by path."""
        values = {}
        for name, field in self.fields.items():
            try:
                values[name] = field.read()
            except ValueError as error:
                errors[self._at(name)] = str(error)
        return values

    def complain(self, errors: Mapping[str, str]) -> set[str]:
        """Show the errors of these fields; returns the paths that found a place."""
        placed = set()
        for name, field in self.fields.items():
            at = self._at(name)
            mine = [path for path in errors if path == at or path.startswith((f"{at}.", f"{at}["))]
            field.complain(errors[mine[0]] if mine else None)
            placed.update(mine)
        return placed

    def _at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def watch(self, changed: Callable[[], None]) -> None:
        """Call at each change of any of them."""
        for field in self.fields.values():
            field.watch(changed)


def check(cls: type[Model], config: Mapping[str, Any]) -> dict[str, str]:
    """What the model says is wrong with a configuration, by path."""
    try:
        schema.read(cls, dict(config))
    except InvalidValue as error:
        return dict(error.fields)
    return {}


PLAIN_TEXT = "pre { font: inherit; margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }"


class Words(pn.pane.Str):
    """Text in the page's own type, of which a change sends the text alone.

    Panel's own pane sends its style sheets again, in a notebook's cell as addresses of a server on the internet.
    """

    def _update(self, ref: str, model: Any) -> None:
        properties = self._get_properties(model.document)
        properties.pop("stylesheets", None)
        model.update(**properties)


def words_of(text: str = "", **styles: str) -> Words:
    """A line of text in the page's own type; it stays text whatever is in it."""
    face = {"font-family": FONT, "font-size": "13px", **styles}
    return Words(text, margin=(6, 4), styles=face, stylesheets=[PLAIN_TEXT])


TOOLBAR = """
:host { padding: 8px 14px; border-bottom: 1px solid rgba(128, 140, 155, .3); align-items: center; flex-wrap: wrap; }
"""


def button(label: str, act: Callable[[], object], *, primary: bool = False, disabled: bool = True) -> material.Button:
    """A button above a form; `act` is called on the document's own turn."""
    made = material.Button(
        label=label,
        size="small",
        button_type="primary" if primary else "default",
        margin=(0, 8, 0, 0),
        disabled=disabled,
    )
    made.on_click(lambda _event: act())
    return made


def toolbar(*parts: Any) -> pn.Row:
    """What can be done with a form, and what is said of it, above it; in a cell it brings the widgets' code."""
    return pn.Row(*parts, material.Code(), sizing_mode="stretch_width", margin=0, stylesheets=[TOOLBAR])


def section(title: str, *content: Any, note: str = "") -> pn.Column:
    """A titled block of a form."""
    head = [words_of(title, **{"font-weight": "600", "font-size": "14px", "margin-top": "10px"})]
    if note:
        head.append(words_of(note, opacity=".8"))
    return pn.Column(*head, *content, sizing_mode="stretch_width", margin=0)


def columns(fields: Iterable[Field], count: int = 3) -> pn.GridBox:
    """Widgets side by side, as many as there is room for."""
    style = (
        ":host { display: grid !important; gap: 0 8px; align-items: start;"
        f" grid-template-columns: repeat(auto-fill, minmax({840 // count}px, 1fr)); }}"
    )
    return pn.Column(*(field.widget for field in fields), sizing_mode="stretch_width", margin=0, stylesheets=[style])
