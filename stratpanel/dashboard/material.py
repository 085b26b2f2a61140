"""Material's widgets as the dashboard uses them: in a notebook, their code comes once for a view and not with each.

A served page loads that code by its address. A cell has no address for it, so Panel puts it, 1.4 MB, into each widget:
a schedule's cell held 14 MB, which Jupyter saves, and opening the settings sent 44. Here the widgets of a cell wait for
the one `Code` beside them; every view that shows such widgets has one.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import panel_material_ui as pmui
import param
from panel_material_ui.theme import MaterialDesign

from stratpanel.dashboard.assets import HERE, Scripted

WAITING = (HERE / "js" / "material_waiting.js").read_text(encoding="utf-8")


@cache
def _code() -> str:
    """What all of Material's widgets run."""
    return str(pmui.Button._render_esm(server=False))


def _is_served(doc: Any) -> bool:
    return bool(doc and doc.session_context and doc.session_context.server_context)


class Code(Scripted):
    """Brings the widgets' code to a cell; nothing to see, and nothing on a served page."""

    code = param.String()

    _esm = (HERE / "js" / "material.js").read_text(encoding="utf-8")

    def __init__(self) -> None:
        super().__init__(width=0, height=0, margin=0)

    def _get_properties(self, doc: Any) -> dict[str, Any]:
        properties = super()._get_properties(doc)
        if not _is_served(doc):
            properties["data"].code = _code()
        return properties


class _Waiting:
    """A widget that finds its code on the page."""

    def _get_properties(self, doc: Any) -> dict[str, Any]:
        properties: dict[str, Any] = super()._get_properties(doc)  # type: ignore[misc]
        if not _is_served(doc):
            properties |= {"esm": WAITING, "bundle": "stratpanel-material"}
        return properties


class InCell(MaterialDesign):
    """The design of a cell's outermost layout: not wrapped in a widget of Material's, which would bring the code into
    every cell. The colours come from our own style sheets."""

    def _wrapper(self, viewable: Any) -> Any:
        return viewable


# The code knows each by its class's name.
class AutocompleteInput(_Waiting, pmui.AutocompleteInput): ...


class Button(_Waiting, pmui.Button): ...


class CheckButtonGroup(_Waiting, pmui.CheckButtonGroup): ...


class Checkbox(_Waiting, pmui.Checkbox): ...


class FileInput(_Waiting, pmui.FileInput): ...


class RadioButtonGroup(_Waiting, pmui.RadioButtonGroup): ...


class Select(_Waiting, pmui.Select): ...


class TextAreaInput(_Waiting, pmui.TextAreaInput): ...


class TextInput(_Waiting, pmui.TextInput): ...
