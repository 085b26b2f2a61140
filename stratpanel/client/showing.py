"""How something is shown in a cell: by the notebook's part where it is installed, else as its plain repr.

The client knows no views; it looks their module up by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stratpanel.client.strategy import Strategy

DISPLAY = "stratpanel.notebook.display"


@dataclass(frozen=True)
class Part:
    """One part of a strategy's page (`logs`, `live`, `resources`, `schedule`, `runs`) and its text for a terminal."""

    strategy: Strategy
    tab: str
    text: str

    def __repr__(self) -> str:
        return self.text


def show(subject: object, include: Any, exclude: Any) -> Any:
    """The MIME bundle of `subject`."""
    try:
        module = import_module(DISPLAY)
    except ImportError:  # no Panel here
        return {"text/plain": repr(subject)}
    return module.bundle(subject, include, exclude)
