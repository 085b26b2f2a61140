"""Operate live trading strategies from where quants work.

Nothing heavy is imported here: the launcher, the runners and the command line all import this package first. What a
notebook wants (`connect`) is imported when it is first asked for.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost every strategy that imports stratpanel.live 5 ms
if TYPE_CHECKING:
    from typing import Any

    from stratpanel.client.connect import Workspace, connect
    from stratpanel.model.errors import StratpanelError

__version__ = "0.1.0"
PROTOCOL = 1
"""What clients and supervisor speak; a client refuses a supervisor of another number and says what to do."""

__all__ = ["PROTOCOL", "StratpanelError", "Workspace", "__version__", "connect"]

_FOUND_IN = {
    "connect": "stratpanel.client.connect",
    "Workspace": "stratpanel.client.connect",
    "StratpanelError": "stratpanel.model.errors",
    "load_ipython_extension": "stratpanel.notebook.magics",
}


def __getattr__(name: str) -> Any:
    """Import what was asked for (PEP 562)."""
    if name not in _FOUND_IN:
        raise AttributeError(f"module 'stratpanel' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_FOUND_IN[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """What completion offers."""
    return sorted({*globals(), *_FOUND_IN})
