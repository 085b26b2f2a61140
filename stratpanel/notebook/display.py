"""Shows a workspace or a strategy in a cell: the dashboard's own views, live, one per cell.

Called by the client's `_repr_mimebundle_`. It arranges Panel's extension for the user, offline; shows plain text where
there is no kernel; and closes what a cell showed before when the cell runs again, so that nothing piles up. Views live
on a thread of their own (see background), so that they stay live while a cell computes.
"""

from __future__ import annotations

import getpass
from functools import partial
from typing import Any

from stratpanel.client.comparison import Comparison
from stratpanel.client.connect import Workspace
from stratpanel.client.showing import Part
from stratpanel.notebook import background

PART_HEIGHT = 440
HEIGHT = 640
"""Pixels of a dashboard in a cell; a strategy's card has the same, so that its log is worth reading."""

_OPEN: dict[str, _Shown] = {}
_arranged = False


class _Shown:
    """One view in one cell, and what has to be closed with it."""

    def __init__(self, view: Any, screen: Any) -> None:
        self.view = view
        self.screen = screen
        self._refs: set[str] = set()
        self._comms: set[str] = set()

    def render(self, include: Any, exclude: Any) -> Any:
        """The view's MIME bundle; remembers what Panel keeps for it."""
        import panel as pn

        before, comms = set(pn.state._views), set(pn.state._comm_manager._comms)
        made = self.view._repr_mimebundle_(include, exclude)
        self._refs = set(pn.state._views) - before
        self._comms = set(pn.state._comm_manager._comms) - comms  # each holds the view through its callbacks
        for name in self._comms:
            comm = pn.state._comm_manager._comms[name]
            for heard in ("_on_msg", "_on_open"):  # the kernel calls them on whatever thread it likes
                if getattr(comm, heard, None) is not None:
                    setattr(comm, heard, partial(background.post, getattr(comm, heard)))
        return made

    def close(self) -> None:
        """Leave the feeds and drop what Panel keeps of the view: its models, its comm and its entry in `state`."""
        import panel as pn

        if self.screen is not None:
            self.screen.close()
        for ref in self._refs:
            root_view, root, _doc, comm = pn.state._views.pop(ref, (None, None, None, None))
            pn.state._handles.pop(ref, None)
            if root_view is not None:
                root_view._cleanup(root)
            if comm is not None:
                comm.close()
        for name in self._comms:
            left = pn.state._comm_manager._comms.pop(name, None)
            if left is not None:
                _forget(left)


def bundle(subject: Any, include: Any = None, exclude: Any = None) -> Any:
    """The MIME bundle of a view of `subject`: a Workspace, a Strategy or a part of its page, live; a Comparison.

    Its repr where there is no kernel.
    """
    kernel = _kernel()
    if kernel is None:
        return {"text/plain": repr(subject)}
    _arrange()
    cell = _cell_of(kernel, subject)
    made = background.call(lambda: _rendered(cell, subject, include, exclude))
    if isinstance(made, tuple):
        made[0]["text/plain"] = repr(subject)
    elif made:
        made["text/plain"] = repr(subject)
    return made


def _rendered(cell: str, subject: Any, include: Any, exclude: Any) -> Any:
    _close(cell)
    shown = _OPEN[cell] = _show(subject)
    return shown.render(include, exclude)


def _forget(comm: Any) -> None:
    """Close a comm that the browser may have opened, closed, or never looked at; leave nothing that refers to it.

    A comm that the browser opened leaves its target behind when closed, and the target holds it; one that it never
    opened, or whose target is gone already, has nothing to close and says so with an AssertionError, hence the look.
    """
    targets = getattr(getattr(comm, "manager", None), "targets", {})
    if getattr(comm, "_comm", None) is not None or comm.id in targets:
        comm.close()
    targets.pop(comm.id, None)


def close_all() -> None:
    """Close every view of this kernel."""

    def close() -> None:
        for cell in list(_OPEN):
            _close(cell)

    background.call(close)


def open_views() -> int:
    """How many views this kernel feeds."""
    return len(_OPEN)


def _close(cell: str) -> None:
    shown = _OPEN.pop(cell, None)
    if shown is not None:
        shown.close()


def _kernel() -> Any | None:
    """The IPython kernel we are in; None in a terminal, in a script, or without IPython."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:  # no IPython, no cell
        return None
    return getattr(get_ipython(), "kernel", None)


def _cell_of(kernel: Any, subject: Any) -> str:
    """What tells one cell from another: the id that JupyterLab sends, else the thing shown."""
    parent = kernel.get_parent() or {}
    cell = (parent.get("metadata") or {}).get("cellId")
    return str(cell or repr(type(subject)) + getattr(subject, "id", ""))


def _arrange() -> None:
    """Load Panel's extension once per kernel, with everything inline, since a trading machine may have no internet."""
    global _arranged
    if _arranged:
        return
    import panel as pn

    pn.extension(inline=True, notifications=False)
    _arranged = True


def _show(subject: Any) -> _Shown:
    import panel as pn

    from stratpanel.dashboard.material import InCell
    from stratpanel.dashboard.office import office
    from stratpanel.dashboard.page import Dashboard
    from stratpanel.dashboard.roles import person
    from stratpanel.dashboard.screen import Screen
    from stratpanel.dashboard.strategy import StrategyPage
    from stratpanel.dashboard.wire import Header, Notices

    if isinstance(subject, Comparison):
        return _Shown(_drawn(subject), None)
    strategy = subject.strategy if isinstance(subject, Part) else subject
    workspace = subject if isinstance(subject, Workspace) else strategy.workspace
    screen = Screen(office(workspace.path), person(workspace.path, _user(), holds_token=True))
    screen.delivery.hold()
    if isinstance(subject, Workspace):
        header = Header(bus=screen.bus, title="stratpanel", sizing_mode="stretch_width", margin=0)
        view = pn.Column(header, Dashboard(screen, height=HEIGHT), sizing_mode="stretch_width", design=InCell)
    elif isinstance(subject, Part):
        page = StrategyPage(screen, strategy.id, subject.tab, head=False)
        screen.on_scheme(page.repaint)
        screen.on_close(page.close)
        notices = Notices(bus=screen.bus, cell=True, sizing_mode="stretch_width", margin=0)
        view = pn.Column(screen.wire, notices, page, height=PART_HEIGHT, sizing_mode="stretch_width", design=InCell)
    else:
        start = {"page": "strategy", "id": subject.id, "tab": "logs"}
        view = pn.Column(Dashboard(screen, height=HEIGHT, start=start), sizing_mode="stretch_width", design=InCell)
    return _Shown(view, screen)


def _drawn(comparison: Comparison) -> Any:
    import panel as pn

    from stratpanel.dashboard.material import InCell
    from stratpanel.dashboard.metrics import legend

    figures = [legend(comparison.runs), *comparison.figures]
    return pn.Column(
        *(pn.pane.Bokeh(drawn, sizing_mode="stretch_width", margin=0) for drawn in figures),
        sizing_mode="stretch_width",
        design=InCell,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's uid without a name
        return "notebook"
