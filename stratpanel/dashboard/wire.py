"""The one component of a page that talks to its browser about the workspace: feed messages out, questions in.

Everything else on the page draws from the browser's store. Questions are answered by coroutines, errors in words;
a question never blocks the loop that serves the other pages.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import param

from stratpanel.dashboard.actions import Actions
from stratpanel.dashboard.assets import Scripted, script, styles
from stratpanel.dashboard.delivery import Delivery
from stratpanel.dashboard.feed import Feed, encode
from stratpanel.model.errors import InvalidValue, StratpanelError

log = logging.getLogger("stratpanel.dashboard")

Answer = Callable[[Mapping[str, Any]], Awaitable[Any]]


class Wire(Scripted):
    """Invisible; one per page, put first in its layout."""

    bus = param.String(doc="the name of the browser's store; shared by the components of one page")
    address = param.Boolean(default=False, doc="whether the browser's address names what is shown")

    _esm = script("wire")

    def __init__(self, feed: Feed, actions: Actions, delivery: Delivery, **params: Any) -> None:
        super().__init__(bus=params.pop("bus", "") or uuid.uuid4().hex[:12], width=0, height=0, margin=0, **params)
        self._feed = feed
        self._actions = actions
        self._delivery = delivery
        self._answers: dict[str, Answer] = {
            "act": self._act,
            "workspace": self._workspace,
            "get": self._get,
            "override": self._override,
        }
        self._ready = False

    def answer(self, name: str, coroutine: Answer) -> None:
        """Let `coroutine(message)` answer the browser's questions of this name."""
        self._answers[name] = coroutine

    def post_text(self, text: str) -> None:
        """One encoded message of the feed; before the browser is ready it would be lost, and its snapshot covers it."""
        if self._ready:
            self._delivery.post(self, text)

    def tell(self, kind: str, **fields: Any) -> None:
        """A message for this page alone."""
        self._delivery.post(self, encode({"k": kind, **fields}))

    def close(self) -> None:
        """Leave the feed."""
        self._feed.detach(self)
        self._delivery.close()

    def _handle_msg(self, data: Any) -> None:
        if not isinstance(data, dict):
            return
        name = data.get("do")
        if name in ("ready", "resync"):
            self._ready = True
            self._delivery.release()
            self._feed.attach(self)
            person = self._actions.person
            user = {"name": person.name, "role": person.role}
            self._delivery.post(self, self._feed.snapshot(user=user))
        else:
            self._delivery.spawn(self._reply(str(name), data))

    async def _reply(self, name: str, data: Mapping[str, Any]) -> None:
        answer: dict[str, Any] = {"k": "re", "n": data.get("n")}
        try:
            if name not in self._answers:
                raise InvalidValue(f"the page asked for {name!r}, which this server does not know; reload the page")
            answer |= {"ok": True, "value": await self._answers[name](data)}
        except StratpanelError as error:
            answer |= {"ok": False, "message": error.message, "code": error.code, "fields": error.fields}
        except Exception as error:  # the page must hear that its question failed; the traceback goes to the log
            log.exception("the question %r of a page failed", name)
            answer |= {
                "ok": False,
                "message": f"{name} failed: {type(error).__name__}: {error}; see the dashboard's log",
            }
        self._delivery.post(self, encode(answer))

    async def _act(self, message: Mapping[str, Any]) -> dict[str, Any]:
        verb, id_ = str(message.get("verb")), str(message.get("id"))
        result = await self._actions.act(verb, id_, message.get("args") or {})
        return {"changed": result.get("changed"), "note": _note(verb, id_, result)}

    async def _workspace(self, message: Mapping[str, Any]) -> Any:
        return await self._actions.workspace(str(message.get("verb")), message.get("args") or {})

    async def _override(self, message: Mapping[str, Any]) -> None:
        word = message.get("override")
        if word is not None and not isinstance(word, dict):
            raise InvalidValue("a word about a day has a kind and a reason")
        about = str(message.get("about") or "day")
        await self._actions.override(str(message.get("calendar")), str(message.get("date")), word, about)

    async def _get(self, message: Mapping[str, Any]) -> Any:
        path = str(message.get("path"))
        if not path.startswith("/api/") or ".." in path:
            raise InvalidValue("a page may read the API only")
        return await self._actions.get(path, **dict(message.get("query") or {}))


def _note(verb: str, id_: str, result: Mapping[str, Any]) -> str | None:
    """What the person should hear although nothing failed."""
    warnings = [str(text) for text in result.get("warnings") or ()]
    if warnings:
        return "; ".join(warnings)
    state = (result.get("strategy") or {}).get("state")
    if result.get("changed") is False and verb in ("start", "stop"):
        return f"{id_} was already {state}; nothing to {verb}"
    return None


class Drawn(Scripted):
    """A component that draws from the browser's store; it has no business with the server but through the wire."""

    __abstract = True

    bus = param.String()


class Asking(Drawn):
    """Drawn by a script whose messages, each a dictionary, go to `asked`."""

    __abstract = True

    def __init__(self, asked: Any, **params: Any) -> None:
        super().__init__(**params)
        self._asked = asked

    def _handle_msg(self, data: Any) -> None:
        if isinstance(data, dict):
            self._asked(data)


class Board(Drawn):
    """The table of strategies with its toolbar."""

    _esm = script("columns", "rules", "startform", "menu", "board", "board_keys")
    _stylesheets = styles("board", "startform")


class Header(Drawn):
    """Totals, host, heartbeat, markets, pause and PANIC."""

    title = param.String(default="stratpanel")

    _esm = script("rules", "header")
    _stylesheets = styles("header")


class Notices(Drawn):
    """Toasts and the line that says when supervisor or dashboard do not answer."""

    warning = param.String(doc="always shown, such as: no token is asked for")
    cell = param.Boolean(default=False, doc="shown in a notebook's cell, which is run again where a page reconnects")

    _esm = script("notices")
    _stylesheets = styles("notices")
