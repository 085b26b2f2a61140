"""A new strategy: blank, from an example, or uploaded; nothing starts by being made.

The id is checked as one types; everything else is the API's affair.
"""

from __future__ import annotations

import uuid
from typing import Any

import panel as pn

from stratpanel.dashboard import material
from stratpanel.dashboard.actions import strategy_path
from stratpanel.dashboard.code import CodeBox, syntax_problem
from stratpanel.dashboard.forms import words_of
from stratpanel.dashboard.screen import Screen
from stratpanel.dashboard.strategy import FILL
from stratpanel.dashboard.templates import BLANK
from stratpanel.model.errors import StratpanelError
from stratpanel.model.ids import id_problem

WAYS = ["Blank", "From an example", "Upload"]
LIMIT = 16 * 1024 * 1024


class NewStrategy(pn.viewable.Viewer):
    """The form, with the source it would start from."""

    def __init__(self, screen: Screen, **params: Any) -> None:
        super().__init__(**params)
        self._screen = screen
        self._examples = {
            f"{item.name}: {item.title}" if item.title else item.name: item for item in screen.templates()
        }
        field: dict[str, Any] = {"size": "small", "margin": (8, 8, 4, 0)}
        self._id = material.TextInput(
            label="Id", helper_text="the name in every file, route and command", width=320, **field
        )
        self._way = material.RadioButtonGroup(
            options=WAYS, value=WAYS[0], size="small", button_type="primary", margin=(12, 8)
        )
        examples = list(self._examples)
        self._example = material.Select(label="Example", options=examples, width=520, visible=False, **field)
        self._file = material.FileInput(
            label="Choose a .py file or a .zip of a folder with main.py",
            accept=".py,.zip",
            size="small",
            margin=(12, 8),
            visible=False,
        )
        self._make = material.Button(
            label="Make it", button_type="primary", size="small", disabled=True, margin=(0, 8, 0, 0)
        )
        self._back = material.Button(label="Cancel", button_type="default", size="small", margin=(0, 8, 0, 0))
        self._said = words_of()
        self._box = CodeBox(
            self._checked, self._wanted, bus=screen.bus, code=BLANK, sizing_mode="stretch_both", margin=0
        )
        self._id.param.watch(lambda _event: self._checked(), "value_input")
        self._way.param.watch(lambda _event: self._turned(), "value")
        self._example.param.watch(lambda _event: self._turned(), "value")
        self._file.param.watch(lambda _event: self._checked(), "value")
        self._make.on_click(lambda _event: self._wanted())
        self._back.on_click(lambda _event: screen.wire.tell("goto", open={"page": "board"}))
        head = pn.Row(self._id, self._way, self._example, self._file, margin=(8, 14), stylesheets=[WRAP])
        bar = pn.Row(self._make, self._back, self._said, material.Code(), margin=(0, 14, 8, 14))
        self._layout = pn.Column(
            words_of("New strategy", **{"font-size": "18px", "font-weight": "600", "margin": "8px 14px 0"}),
            head,
            bar,
            self._box,
            sizing_mode="stretch_both",
            margin=0,
            stylesheets=[FILL],
        )

    def __panel__(self) -> pn.Column:
        return self._layout

    def _turned(self) -> None:
        way = self._way.value
        self._example.visible, self._file.visible, self._box.visible = way == WAYS[1], way == WAYS[2], way != WAYS[2]
        example = self._examples.get(self._example.value)
        if way == WAYS[0]:
            self._box.load(BLANK)
        elif way == WAYS[1] and example is not None:
            self._box.load(example.source)
        self._box.readonly = way == WAYS[1]
        self._checked()

    def _problem(self) -> str:
        id_ = (self._id.value_input or "").strip()
        if not id_:
            return "give it an id"
        wrong = id_problem(id_)
        if wrong:
            return str(wrong)
        if any(id_.casefold() == known.casefold() for known in self._screen.source.rows):
            return f"there is a strategy {id_!r} already"
        if self._way.value == WAYS[2]:
            data = self._file.value
            if not data:
                return "choose a file"
            if len(data) > LIMIT:
                return "the file is larger than 16 MB"
        elif self._way.value == WAYS[0] and (broken := syntax_problem(self._box.text)):
            return f"line {broken['line']}: {broken['text']}"
        return ""

    def _checked(self) -> None:
        problem = self._problem()
        self._make.disabled = bool(problem) or not self._screen.actions.person.may("add")
        self._said.object = problem if self._id.value_input or self._way.value != WAYS[0] else ""
        if self._way.value == WAYS[0]:
            self._box.problem = syntax_problem(self._box.text)

    def _wanted(self) -> None:
        problem = self._problem()
        if problem:  # pressed before the page knew, as while a file is on its way
            self._said.object = problem
            return
        self._screen.delivery.spawn(self._add())

    async def _add(self) -> None:
        id_ = self._id.value_input.strip()
        body: Any = {"id": id_, "source": self._box.text}
        headers = None
        example = self._examples.get(self._example.value)
        if self._way.value == WAYS[1] and example is not None:
            body = {"id": id_, "path": example.path}
        elif self._way.value == WAYS[2]:
            body, kind = multipart(id_, str(self._file.filename or "strategy.py"), bytes(self._file.value))
            headers = {"Content-Type": kind}
        try:
            made = await self._screen.actions.ask("POST", "/api/strategies", body=body, headers=headers, action="add")
        except StratpanelError as error:
            problem = error.message
            self._screen.delivery.run(lambda: setattr(self._said, "object", problem))
            return
        await self._owned(id_, made)
        self._screen.wire.tell(
            "toast", tone="good", text=f"{id_} is there; deploy and start it when it is ready", id=id_
        )
        self._screen.wire.tell("goto", open={"page": "strategy", "id": id_, "tab": "source"})

    async def _owned(self, id_: str, made: Any) -> None:
        """Write who made it, where the API did not."""
        name = self._screen.actions.person.name
        if not name or (isinstance(made, dict) and (made.get("config") or {}).get("user_id")):
            return
        try:
            await self._screen.actions.ask("PATCH", strategy_path(id_), body={"user_id": name}, action="patch")
        except StratpanelError as error:
            self._screen.wire.tell(
                "toast", tone="warn", text=f"its owner could not be written: {error.message}", id=id_
            )


def multipart(id_: str, filename: str, data: bytes) -> tuple[bytes, str]:
    """A multipart body with the id and the file, and its content type; names are quoted, so they stay names."""
    boundary = uuid.uuid4().hex
    safe = filename.replace("\\", "_").replace('"', "_").replace("\r", "_").replace("\n", "_")
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="id"\r\n\r\n{id_}\r\n'.encode(),
        (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{safe}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode(),
        data,
        f"\r\n--{boundary}--\r\n".encode(),
    ]
    return b"".join(parts), f"multipart/form-data; boundary={boundary}"


WRAP = ":host { flex-wrap: wrap; align-items: flex-start; }"
