"""Strategies: list, add, read, change, remove, and the actions on one.

Checks what belongs to HTTP (ids in paths, If-Match, multipart, ?wait=0) and hands the rest to the core, which decides.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final

from tornado import httputil

from stratpanel.model.errors import Internal, InvalidValue, Malformed, NotFound, StratpanelError, TooLarge
from stratpanel.model.ids import check_id, id_problem
from stratpanel.supervisor.api import wire
from stratpanel.supervisor.api.access import Role
from stratpanel.supervisor.api.ports import ActionResult, Json
from stratpanel.supervisor.api.route import JSON_LIMIT, Route

log = logging.getLogger("stratpanel.api")

Act = Callable[[str], Awaitable[ActionResult]]

MOST_AT_ONCE: Final = 10_000
UPLOAD_LIMIT: Final = 16 * 1024 * 1024
MULTIPART_MARGIN: Final = 64 * 1024


def no_strategy(id: str) -> NotFound:
    """The error for an id that nobody has."""
    return NotFound(f"there is no strategy {id[:100]!r}; `stratpanel status` lists them", code="STRATEGY_NOT_FOUND")


def quoted(etag: str) -> str:
    """An ETag as it stands in a header."""
    bare = etag.strip('"')
    return f'"{bare}"'


def with_config(route: Route, status: Json) -> Json:
    """These status fields with `config` and `etag`, which also becomes the answer's ETag."""
    etag = quoted(route.core.etag(status["id"]))
    route.set_header("ETag", etag)
    return {**status, "config": route.core.config(status["id"]), "etag": etag}


class StrategyRoute(Route):
    """A route under /api/strategies/{id}: an id that cannot exist never reaches the core."""

    async def check(self) -> None:
        """See Route; then the id."""
        await super().check()
        id = self.path_args[0]
        if id_problem(id):
            raise no_strategy(id)
        self.core.status(id)

    def described(self, id: str) -> Json:
        """The status fields, `config` and its `etag`, which is also the answer's ETag."""
        return with_config(self, self.core.status(id))


class StrategyList(Route):
    """GET, POST /api/strategies"""

    async def check(self) -> None:
        """A multipart body may be large, but only a few at a time."""
        self._uploading = False
        multipart = self.request.headers.get("Content-Type", "").lower().startswith("multipart/form-data")
        if multipart and self.request.method == "POST":
            self.body_limit = UPLOAD_LIMIT + MULTIPART_MARGIN
        await super().check()
        if self.body_limit > JSON_LIMIT:
            await self.site.uploads.acquire()
            self._uploading = True

    def on_finish(self) -> None:
        """Let the next upload in."""
        self._release()
        super().on_finish()

    def on_connection_close(self) -> None:
        """The uploader left half-way."""
        self._release()
        super().on_connection_close()

    def _release(self) -> None:
        if getattr(self, "_uploading", False):
            self._uploading = False
            self.site.uploads.release()

    async def get(self) -> None:
        """All strategies' status fields."""
        self.answer({"strategies": self.core.statuses()})

    async def post(self) -> None:
        """Register a script: by path, by source, or uploaded."""
        if self.body_limit > JSON_LIMIT:
            id, upload = self._upload()
            status = await self.core.add(id, upload=upload, by=self.by)
        else:
            body = self.json_body()
            id = text_field(body, "id")
            path, source = text_field(body, "path"), text_field(body, "source")
            if (path is None) == (source is None):
                raise InvalidValue("give either path or source", fields={"path": "give either path or source"})
            if path is not None and not path.strip():
                raise wire.invalid("path", "is empty")
            if id is None:
                raise wire.invalid("id", "is missing")
            check_id(id)
            status = await self.core.add(id, path=path, source=source, by=self.by)
        self.set_header("Location", httputil.url_concat(f"/api/strategies/{status['id']}", {}))
        await self.done(with_config(self, status), 201)

    def _upload(self) -> tuple[str | None, tuple[str, bytes]]:
        """The id, if one was sent along, and the file's name and bytes; raises Malformed, InvalidValue, TooLarge."""
        arguments: dict[str, list[bytes]] = {}
        files: dict[str, list[httputil.HTTPFile]] = {}
        try:
            httputil.parse_body_arguments(self.request.headers["Content-Type"], self.body, arguments, files)
        except httputil.HTTPInputError as error:
            raise Malformed(f"the multipart body cannot be read: {error}") from None
        self._body.clear()
        found = files.get("file", [])
        if len(found) != 1:
            raise wire.invalid("file", "send one part named file with a file name")
        name, content = found[0].filename, found[0].body
        if len(content) > UPLOAD_LIMIT:
            raise TooLarge("the file is larger than 16 MB")
        given = arguments.get("id", [])
        id = given[-1].decode("utf-8", "replace") if given else None
        if id is not None:
            check_id(id)
        return id, (name, content)


class OneStrategy(StrategyRoute):
    """GET, PATCH, DELETE /api/strategies/{id}"""

    async def get(self, id: str) -> None:
        """Status fields, `config` and the configuration's ETag."""
        self.answer(self.described(id))

    async def patch(self, id: str) -> None:
        """Merge (RFC 7396) into the configuration; with If-Match only if nobody was first."""
        if not self.body.strip():
            raise Malformed("the body is empty; send the fields to change as a JSON object")
        await self.core.patch(id, self.json_body(), self._if_match(id), by=self.by)
        await self.done(self.described(id))

    def _if_match(self, id: str) -> str | None:
        """The tag that must still hold; of several the one that does."""
        header = self.request.headers.get("If-Match", "").strip()
        if not header or header == "*":
            return None
        tags = [quoted(tag.strip().removeprefix("W/")) for tag in header.split(",")]
        current = self.core.etag(id)
        return current if quoted(current) in tags else tags[0]

    async def delete(self, id: str) -> None:
        """Take the strategy out of the registry; its files stay."""
        await self.core.remove(id, by=self.by)
        await self.done({"removed": id})


class Copy(StrategyRoute):
    """POST /api/strategies/{id}/rename|duplicate"""

    async def post(self, id: str, action: str) -> None:
        """Give it another id, or make another one like it; answers with the new one."""
        new = text_field(self.json_body(), "id")
        if new is None:
            raise wire.invalid("id", "is missing")
        check_id(new)
        if action == "rename":
            status = await self.core.rename(id, new, by=self.by)
        else:
            status = await self.core.duplicate(id, new, by=self.by)
        await self.done(with_config(self, status), 200 if action == "rename" else 201)


class Action(StrategyRoute):
    """POST /api/strategies/{id}/{action}"""

    roles: ClassVar[dict[str, Role]] = {"POST": Role.OPERATOR}

    async def post(self, id: str, action: str) -> None:
        """Do it and answer when done; with ?wait=0 answer 202 as soon as it is accepted."""
        wait = wire.flag("wait", self.query("wait"), default=True)
        doing = asyncio.ensure_future(asked(self, action, self.json_body())(id))
        if not wait:
            await asyncio.wait({doing}, timeout=0)
            if not doing.done():
                background.add(doing)
                doing.add_done_callback(_forget)
                await self.done({"changed": True, "strategy": self.core.status(id)}, 202)
                return
        result = await asyncio.shield(doing)
        await self.done(told(result), 200 if wait else 202)


class ActionOnMany(Route):
    """POST /api/actions/{action}"""

    roles: ClassVar[dict[str, Role]] = {"POST": Role.OPERATOR}

    async def post(self, action: str) -> None:
        """Do it to all `ids` side by side, with the fields of the action on one; the refusal of one is its own result.

        Answers when all are done; with ?wait=0 as soon as all are accepted or refused.
        """
        wait = wire.flag("wait", self.query("wait"), default=True)
        body = self.json_body()
        ids = list(dict.fromkeys(texts_field(body, "ids") or ()))
        if not ids:
            raise wire.invalid("ids", "name at least one strategy")
        if len(ids) > MOST_AT_ONCE:
            raise wire.invalid("ids", f"are more than {MOST_AT_ONCE}")
        act = asked(self, action, body)
        doing = {id: asyncio.ensure_future(self._one(id, act)) for id in ids}
        await asyncio.wait(doing.values(), timeout=None if wait else 0)
        results = []
        for id, one in doing.items():
            if one.done():
                results.append(one.result())
            else:
                background.add(one)
                one.add_done_callback(_forget)
                results.append({"id": id, "changed": True, "strategy": self.core.status(id)})
        await self.done({"results": results}, 200 if wait else 202)

    async def _one(self, id: str, act: Act) -> Json:
        try:
            if id_problem(id):
                raise no_strategy(id)
            self.core.status(id)
            return {"id": id, **told(await act(id))}
        except StratpanelError as error:
            return self._refused(id, error)
        except Exception:  # a defect of ours with one strategy: the others' results must still be told
            log.exception("%s of %s failed", self.request.path, id)
            return self._refused(id, Internal(f"our own fault with {id}; see log/supervisor.log"))

    def _refused(self, id: str, error: StratpanelError) -> Json:
        return {"id": id, "http_status": error.status, **self.error_body(error)}


def told(result: ActionResult) -> Json:
    """What an action did, as it is answered."""
    answer: Json = {"changed": result.changed, "strategy": result.strategy}
    warnings = getattr(result, "warnings", None)
    if warnings:
        answer["warnings"] = list(warnings)
    return answer


def asked(route: Route, action: str, body: Json) -> Act:
    """The action as this request wants it, to be called with an id. Raises InvalidValue for a field of the body."""
    core, by = route.core, route.by
    if action == "start":
        params, args, deploy = object_field(body, "params"), texts_field(body, "args"), bool_field(body, "deploy")
        return lambda id: core.start(id, by=by, params=params, args=args, deploy=deploy)
    if action in ("stop", "pause"):
        why, call = text_field(body, "why") or "", core.stop if action == "stop" else core.pause
        return lambda id: call(id, by=by, why=why)
    if action == "resume":
        dry_run = bool(bool_field(body, "dry_run"))
        return lambda id: core.resume(id, by=by, dry_run=dry_run)
    calls = {"kill": core.kill, "restart": core.restart, "reset": core.reset}
    return lambda id: calls[action](id, by=by)


background: set[asyncio.Future[Any]] = set()
"""Actions that go on after their 202; kept here so that nobody collects them."""


def _forget(doing: asyncio.Future[Any]) -> None:
    background.discard(doing)
    if not doing.cancelled():
        doing.exception()  # told through the strategy's state and events; here only so that asyncio does not warn


def text_field(body: Json, name: str) -> str | None:
    """An optional string of a body; raises InvalidValue."""
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise wire.invalid(name, "must be text")
    return value


def object_field(body: Json, name: str) -> Json | None:
    """An optional object of a body; raises InvalidValue."""
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise wire.invalid(name, "must be an object")
    return value


def texts_field(body: Json, name: str) -> list[str] | None:
    """An optional list of strings of a body; raises InvalidValue naming the element."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, list):
        raise wire.invalid(name, "must be a list of text")
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise wire.invalid(f"{name}[{index}]", "must be text")
    return value


def bool_field(body: Json, name: str) -> bool | None:
    """An optional truth value of a body; raises InvalidValue."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise wire.invalid(name, "must be true, false or null")
    return value


def number_field(body: Json, name: str) -> int | None:
    """An optional whole number of a body; raises InvalidValue."""
    value = body.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31):
        raise wire.invalid(name, "must be a whole number from 1")
    return value
