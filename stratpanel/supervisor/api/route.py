"""The base of every route: host, token and role first, then the body within its limit, then JSON in and out.

Every other module of this folder subclasses `Route`. A route never catches broadly itself: what it raises becomes an
error body of CONTRACTS here, and what nobody foresaw becomes 500 INTERNAL with the traceback in our own log only.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from tornado import httputil
from tornado.web import Application, HTTPError, RequestHandler, stream_request_body

from stratpanel.model.errors import (
    Conflict,
    Forbidden,
    Internal,
    Malformed,
    NotFound,
    StratpanelError,
    TooLarge,
    Unauthorized,
)
from stratpanel.supervisor.api import wire
from stratpanel.supervisor.api.access import Role, Tokens, narrowed, require_loopback_name
from stratpanel.supervisor.api.ports import Core, Json

if TYPE_CHECKING:
    from stratpanel.supervisor.api.binding import Endpoint
    from stratpanel.supervisor.api.events import EventFeed
    from stratpanel.supervisor.api.logs import LogFeeds
    from stratpanel.supervisor.api.mirror import MirrorFeed
    from stratpanel.supervisor.api.streams import Outbox

log = logging.getLogger("stratpanel.api")

JSON_LIMIT = 1024 * 1024
UPLOADS_AT_ONCE = 2  # each holds its body in memory
METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")
ERRORS_BY_STATUS = {400: "MALFORMED", 404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}


@dataclass
class Site:
    """What all routes of one server share."""

    core: Core
    tokens: Tokens
    endpoint: Endpoint
    mirror: MirrorFeed
    events: EventFeed
    logs: LogFeeds
    uploads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(UPLOADS_AT_ONCE))
    streams: set[Outbox] = field(default_factory=set)
    """Open streams, to be closed with the server."""
    requests: dict[int, int] = field(default_factory=dict)
    """Answers given, by status."""

    def rotate_tokens(self, by: str) -> None:
        """Make new tokens for all roles and end every stream that was opened with an old one. Raises Conflict."""
        try:
            admin = self.endpoint.rotate()
        except OSError as error:
            raise Conflict(
                f"the tokens stay as they are: cannot write {self.endpoint.path} ({error.strerror or error}); make room"
                " or give this user the right to that folder, then try again",
                code="TOKEN_NOT_KEPT",
            ) from error
        self.tokens.replace(admin)
        self.core.tokens_are(self.tokens.by_role.values(), by=by)
        for outbox in tuple(self.streams):
            outbox.close()


@stream_request_body
class Route(RequestHandler):
    """One path of the API; a subclass writes `async def get/post/…` and sets the role each method needs."""

    roles: ClassVar[dict[str, Role]] = {}
    default_roles: ClassVar[dict[str, Role]] = {"GET": Role.VIEWER}
    body_limit: int = JSON_LIMIT
    site: Site
    role: Role

    def initialize(self, site: Site) -> None:
        """Called by tornado with what the routing table gives."""
        self.site = site
        self._body = bytearray()
        self._body_too_large = False
        self._refusal: StratpanelError | HTTPError | None = None

    @property
    def core(self) -> Core:
        """The supervisor."""
        return self.site.core

    @property
    def by(self) -> str:
        """Who asks, for records: the X-Stratpanel-By header, printable and short, else "api"."""
        given = self.request.headers.get("X-Stratpanel-By", "")
        return "".join(char for char in given if char.isprintable())[:64].strip() or "api"

    async def prepare(self) -> None:
        """Check the request before its body; a refusal is answered when the body has been read and thrown away.

        An answer before the end of the body closes the connection over unread bytes, which resets it: most callers
        would see a broken pipe in place of the reason.
        """
        try:
            await self.check()
        except (StratpanelError, HTTPError) as refusal:
            headers = self.request.headers
            if headers.get("Expect") or not ("Content-Length" in headers or "Transfer-Encoding" in headers):
                raise
            self._refusal = refusal
            setattr(self, (self.request.method or "").lower(), self._refuse)

    async def _refuse(self, *_: str) -> None:
        assert self._refusal is not None
        raise self._refusal

    async def check(self) -> None:
        """Refuse strangers, lesser roles and bodies that say they are too large."""
        require_loopback_name(self.request.headers.get("Host"))
        role = self.site.tokens.role_of(self.request.headers.get("Authorization"))
        self.role = narrowed(role, self.request.headers.get("X-Stratpanel-Role"))
        method = self.request.method or ""
        if method not in self.allowed_methods():
            raise HTTPError(405)
        needed = self.roles.get(method) or self.default_roles.get(method, Role.ADMIN)
        if self.role < needed:
            raise Forbidden(f"this needs the role {needed.name.lower()}, you are {self.role.name.lower()}")
        length = self.request.headers.get("Content-Length", "")
        if length.isdigit() and int(length) > self.body_limit:
            raise self._too_large()

    def data_received(self, chunk: bytes) -> None:
        """Collect the body, as far as it is wanted."""
        if self._body_too_large or self._refusal is not None:
            return
        self._body += chunk
        if len(self._body) > self.body_limit:
            self._body_too_large = True
            self._body.clear()

    @property
    def body(self) -> bytes:
        """The whole body; raises TooLarge."""
        if self._body_too_large:
            raise self._too_large()
        return bytes(self._body)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is larger than the {self.body_limit / 1024 / 1024:g} MB this route takes")

    def json_body(self) -> Json:
        """The body as JSON object, {} when empty; raises Malformed."""
        return wire.decode_object(self.body)

    def query(self, name: str) -> str | None:
        """The last value of a query parameter, or None; raises Malformed when it is not UTF-8 or holds NUL."""
        value = self.get_query_argument(name, None, strip=False)
        if value is not None and "\0" in value:
            raise Malformed(f"the parameter {name} contains a NUL character")
        return value

    def answer(self, value: object, status: int = 200) -> None:
        """Send `value` as JSON."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(wire.encode(value))

    async def done(self, value: object, status: int = 200) -> None:
        """Answer after a change, with the mirror's number that includes it, so that a client can wait for it."""
        await asyncio.sleep(0)  # the core tells what changed at the end of the turn of the loop in which it did
        self.set_header("X-Stratpanel-Seq", str(self.site.mirror.flush()))
        self.answer(value, status)

    @classmethod
    def allowed_methods(cls) -> list[str]:
        """The methods a route has."""
        return [name for name in METHODS if getattr(cls, name.lower()) is not getattr(RequestHandler, name.lower())]

    def set_default_headers(self) -> None:
        """Nothing here may be kept by a cache or read as anything but what it is."""
        self.clear_header("Server")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")

    def compute_etag(self) -> str | None:
        """No automatic ETag: ours names a strategy's configuration, not the bytes of an answer."""
        return None

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Every error has the body of CONTRACTS."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if not isinstance(error, StratpanelError):
            error = self._translated(error, status_code)
        self.set_status(error.status)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        if isinstance(error, Unauthorized):
            self.set_header("WWW-Authenticate", 'Bearer realm="stratpanel"')
        self.finish(wire.encode(self.error_body(error)))

    def error_body(self, error: StratpanelError) -> Json:
        """An error as CONTRACTS has it, without secrets."""
        body, mask = error.to_json(), self.site.core.mask
        body["message"] = mask(error.message)
        if error.fields:
            body["fields"] = {mask(name): mask(says) for name, says in error.fields.items()}
        return body

    def _translated(self, error: BaseException | None, status_code: int) -> StratpanelError:
        """An error of ours for one of tornado's, or for one that nobody foresaw."""
        if isinstance(error, HTTPError) and error.status_code == 405:
            allowed = ", ".join(self.allowed_methods())
            self.set_header("Allow", allowed)
            return MethodNotAllowed(f"{self.request.method} is not possible here; allowed: {allowed}")
        if isinstance(error, HTTPError) and error.status_code == 404:
            return NotFound(f"there is no {self.request.path[:200]}; /api/openapi.json lists what there is")
        if (isinstance(error, HTTPError) and 400 <= error.status_code < 500) or isinstance(
            error, httputil.HTTPInputError
        ):
            return Malformed(f"the request cannot be read: {getattr(error, 'log_message', None) or error}")
        return Internal(
            f"our own fault while answering {self.request.method} {self.request.path[:200]}; see log/supervisor.log"
        )

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Our own faults go to our log with their traceback; a caller's mistakes do not."""
        if (isinstance(value, StratpanelError) and value.status < 500) or isinstance(
            value, HTTPError | httputil.HTTPInputError
        ):
            return
        log.error("%s %s failed", self.request.method, self.request.path[:200], exc_info=(typ, value, tb))

    def on_finish(self) -> None:
        """Count the answer for /metrics."""
        status = self.get_status()
        self.site.requests[status] = self.site.requests.get(status, 0) + 1


class MethodNotAllowed(StratpanelError):
    """The path exists, the method does not."""

    status = 405
    default_code = "METHOD_NOT_ALLOWED"


class NoSuchPath(Route):
    """Everything that is not in the routing table."""

    async def check(self) -> None:
        """A stranger is told nothing, not even that a path does not exist."""
        require_loopback_name(self.request.headers.get("Host"))
        self.site.tokens.role_of(self.request.headers.get("Authorization"))
        raise HTTPError(404)


def no_access_log(handler: RequestHandler) -> None:
    """Tornado's hook for a line per request; a supervisor's log is for what happened to strategies."""


__all__ = ["JSON_LIMIT", "Application", "NoSuchPath", "Route", "Site", "no_access_log"]
