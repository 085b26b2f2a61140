"""The live log of one strategy at a time, for the overview's dock and the strategy's page.

Shows what the log feed has, asks the API for older pages; holds no file and no thread of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import param

from stratpanel.dashboard.actions import Actions, strategy_path
from stratpanel.dashboard.assets import Scripted, script, styles
from stratpanel.dashboard.delivery import Delivery
from stratpanel.dashboard.feed import encode
from stratpanel.dashboard.logfeed import LogFeed, Tail, line_of
from stratpanel.model.errors import StratpanelError

PAGE = 1000


class LogView(Scripted):
    """`show(id)` to watch another strategy; `close()` when its page goes."""

    bus = param.String()
    full = param.Boolean(default=False, doc="with run filter and clear, for the strategy's own page")

    _esm = script("ansi", "log")
    _stylesheets = styles("log")

    def __init__(self, logs: LogFeed, actions: Actions, delivery: Delivery, **params: Any) -> None:
        super().__init__(**params)
        self._logs = logs
        self._actions = actions
        self._delivery = delivery
        self._id: str | None = None
        self._zone = ""
        self._ready = False
        self._generation = 0
        self._tail: Tail | None = None
        self._run = ""

    def show(self, id_: str | None, zone: str = "") -> None:
        """Watch the log of `id_` from now on, None for nobody's."""
        if id_ == self._id:
            return
        self._leave()
        self._id, self._zone = id_, zone
        if self._ready:
            self._join()

    def only_run(self, run: str) -> None:
        """Show the lines of one run only."""
        self._run = run
        if self._ready and self._id is not None:
            self._delivery.spawn(self._one_run(self._id, run))

    def close(self) -> None:
        """Stop watching."""
        self._leave()
        self._ready = False

    def more(self, text: str) -> None:
        """A batch of the feed, encoded once for all views; our generation is put in front."""
        self._delivery.post(self, text[1:], f'{{"g":{self._generation},')

    def restarted(self, tail: Tail) -> None:
        """The recent lines as a whole."""
        self._generation += 1
        note = "" if tail.recent else tail.problem
        self._say(
            "log",
            id=tail.id,
            zone=self._zone,
            title="" if self.full else tail.id,
            note=note,
            before=tail.before,
            lines=[line for _, line in tail.recent],
        )
        if self._run:
            self.only_run(self._run)

    async def _one_run(self, id_: str, run: str) -> None:
        try:
            page = await self._actions.get(f"{strategy_path(id_)}/logs", lines=5 * PAGE, run=run)
        except StratpanelError as error:
            self._say("failed", text=f"the log of this run could not be read: {error.message}")
            return
        if run == self._run:
            self._generation += 1
            lines = [line_of(item) for item in page["lines"]]
            note = "" if lines else "Nothing of this run is left in the log files."
            self._say("log", id=id_, zone=self._zone, title="", note=note, before=page.get("before"), lines=lines)
            self._say("run", run=run)

    def _leave(self) -> None:
        if self._id is not None and self._tail is not None:
            self._logs.leave(self._id, self)
        self._tail = None

    def _join(self) -> None:
        if self._id is None:
            self._generation += 1
            self._say("log", id="", title="", lines=[], before=None)
            return
        self._tail = self._logs.watch(self._id, self)
        if self._tail.ready:
            self.restarted(self._tail)

    def _say(self, kind: str, **fields: Any) -> None:
        self._delivery.post(self, encode({"k": kind, "g": self._generation, **fields}))

    def _handle_msg(self, data: Any) -> None:
        if not isinstance(data, dict):
            return
        if data.get("do") == "ready":
            self._leave()
            self._ready = True
            self._join()
        elif self._id is not None and data.get("g") == self._generation:
            if data.get("do") == "older":
                self._delivery.spawn(self._older(self._id, data))
            elif data.get("do") == "all runs" and self._tail is not None:
                self._run = ""
                self.restarted(self._tail)
            elif data.get("do") == "clear":
                self._delivery.spawn(self._clear(self._id))

    async def _older(self, id_: str, message: Mapping[str, Any]) -> None:
        generation = self._generation
        lines = min(5000, int(message.get("lines") or PAGE))
        try:
            page = await self._actions.get(
                f"{strategy_path(id_)}/logs", lines=lines, before=message.get("before"), run=self._run or None
            )
        except StratpanelError as error:
            self._say("failed", text=f"older lines could not be read: {error.message}")
            return
        if generation == self._generation:
            self._say("older", lines=[line_of(item) for item in page["lines"]], before=page.get("before"))

    async def _clear(self, id_: str) -> None:
        try:
            await self._actions.ask("DELETE", f"{strategy_path(id_)}/logs", action="clear_log")
        except StratpanelError as error:
            self._say("failed", text=error.message)
