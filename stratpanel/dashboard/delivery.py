"""Brings messages to one page: straight to its websocket in a served page, through Panel in a notebook. What changes
models waits for the document's lock.

Used by every live component. All calls come on the loop that owns the page; a worker thread first goes back there.
Panel's periodic callbacks are never used: they toggle the process-wide busy state, and cost grows with the square of
pages.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import nan
from typing import Any

import panel as pn
from bokeh.models import ColumnDataSource
from panel.custom import JSComponent
from panel.io.state import set_curdoc
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError

from stratpanel.dashboard import frames

log = logging.getLogger("stratpanel.dashboard")


class Delivery:
    """One page's outgoing messages; several of one turn travel in one locked callback."""

    def __init__(self) -> None:
        self._doc = pn.state.curdoc if pn.state.curdoc and pn.state.curdoc.session_context else None
        self._waiting: list[Callable[[], None]] = []
        self._scheduled = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._held = False
        self.closed = False
        if self._doc is not None:
            # Panel drops what changes between a browser's fetching the document and its saying that it has drawn it:
            # on a busy machine nine of ten pages never got what their tab had read meanwhile.
            self._held = True
            pn.state.onload(self._let_go)

    @property
    def served(self) -> bool:
        """True for a page of a server, false for a view in a notebook or without a server."""
        return self._doc is not None

    def hold(self) -> None:
        """Keep everything until `release`: what a cell's view is told before its browser has drawn it is lost.

        Worse, a model that was sent meanwhile is known here and never there.
        """
        self._held = True

    def release(self) -> None:
        """The browser of a cell is there: send what was kept. A served page says so itself."""
        if not self.served:
            self._let_go()

    def _let_go(self) -> None:
        if self._held:
            self._held = False
            self.run(lambda: None)

    def run(self, work: Callable[[], None]) -> None:
        """Run `work` (which changes models or sends messages) when this page may be written."""
        if self.closed:
            return
        self._waiting.append(work)
        if self._scheduled or self._held:
            return
        self._scheduled = True
        if self._doc is not None:
            self._doc.add_next_tick_callback(self._flush)
        else:
            try:
                asyncio.get_running_loop().call_soon(self._flush)
            except RuntimeError:  # a plain script without a loop: nobody else can write now
                self._flush()

    def post(self, component: JSComponent, text: str, own: str = "") -> None:
        """Send an encoded message to a component of this page: `own` begins it, `text` may be every page's."""
        if self._written(lambda: [frames.message(model, own, text) for model in _ids(component)]):
            return
        self.run(lambda: component._send_msg(own + text))

    def append(self, source: ColumnDataSource, columns: Mapping[str, Sequence[float | None]], rollover: int) -> None:
        """Add rows to a figure; None is a gap. In a served page the browser alone has them, until `data` is set."""
        if self._written(lambda: [frames.streamed(source.id, columns, rollover)]):
            return
        values = {name: [nan if value is None else value for value in column] for name, column in columns.items()}
        self.run(lambda: source.stream(values, rollover=rollover))

    def _written(self, events: Callable[[], list[str]]) -> bool:
        """Write events past Bokeh, unless something still waits: what was said first arrives first."""
        if self.closed:
            return True
        if self._doc is None or self._scheduled:
            return False
        try:
            return frames.send(self._doc, events)
        except (WebSocketClosedError, StreamClosedError):
            self.closed = True
            return True

    def _flush(self) -> None:
        self._scheduled = False
        waiting, self._waiting = self._waiting, []
        try:
            with self._in_order():
                for work in waiting:
                    self._do(work)
        except (WebSocketClosedError, StreamClosedError):  # the page left between two messages; its session ends soon
            self.closed = True

    @contextmanager
    def _in_order(self) -> Iterator[None]:
        """What is changed within reaches the browser in the order of the changes.

        Panel may have to put a change off while Bokeh sends the next one at once: a figure's new point then came to
        the browser before the figure. So all of it is held, and collected, since a combined change moves to the front.
        Panel looks for the document in the context of whoever asked for this turn, which may be another page's.
        """
        if self._doc is None:
            yield
            return
        with set_curdoc(self._doc), pn.io.hold(self._doc, policy="collect"):
            yield

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (WebSocketClosedError, StreamClosedError):
            raise
        except Exception:  # one view's fault must not keep the others of this page from what they wait for
            log.exception("a page could not be written")

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine of this page, and keep it alive; its exception is logged, not lost."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a page's task failed", exc_info=task.exception())

    def close(self) -> None:
        """Drop what is waiting and end the page's tasks."""
        self.closed = True
        self._waiting.clear()
        for task in list(self._tasks):
            task.cancel()


def _ids(component: JSComponent) -> list[str]:
    """The ids of a component's models that a browser knows."""
    views, unreal = pn.state._views, pn.state._fake_roots
    return [model.id for root, (model, _) in component._models.items() if root in views and root not in unreal]
