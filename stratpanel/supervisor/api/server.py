"""Puts the API on the air: routing table, HTTP server, connection.json.

`serve_api` is called once by the supervisor, when its core can answer; it must never outlive the core.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any, Final

from tornado.web import Application

from stratpanel.supervisor.api import code, events, logs, metrics, mirror, strategies, whole
from stratpanel.supervisor.api.access import Tokens
from stratpanel.supervisor.api.binding import Endpoint, bind
from stratpanel.supervisor.api.malformed import AnsweringServer
from stratpanel.supervisor.api.ports import Core
from stratpanel.supervisor.api.route import NoSuchPath, Site, no_access_log

IDLE_S: Final = 120.0  # a connection that asks nothing, or does not finish its headers
BODY_S: Final = 60.0
HEADER_BYTES: Final = 32 * 1024
DISCARDED_BYTES: Final = 1024 * 1024 * 1024  # read past a 413, so that the caller sees it rather than a reset
READ_BUFFER: Final = 1024 * 1024

ONE: Final = r"/api/strategies/([^/]+)"
ACTIONS: Final = "start|stop|kill|restart|reset|pause|resume"


def routes(site: Site) -> list[Any]:
    """The routing table: CONTRACTS in order."""
    table = [
        (r"/api/health", whole.Health),
        (r"/metrics", metrics.Metrics),
        (r"/api/openapi\.json", whole.OpenApi),
        (r"/api/supervisor", whole.SupervisorRoute),
        (r"/api/(panic|pause|resume|reload)", whole.WholeAction),
        (r"/api/down", whole.Down),
        (r"/api/token", whole.Token),
        (r"/api/week", whole.Week),
        (r"/api/schedule/explain", whole.ExplainSchedule),
        (rf"/api/actions/({ACTIONS})", strategies.ActionOnMany),
        (r"/api/strategies", strategies.StrategyList),
        (ONE, strategies.OneStrategy),
        (rf"{ONE}/({ACTIONS})", strategies.Action),
        (rf"{ONE}/(rename|duplicate)", strategies.Copy),
        (rf"{ONE}/(deploy|rollback|promote)", code.Release),
        (rf"{ONE}/source", code.Source),
        (rf"{ONE}/versions", code.Versions),
        (rf"{ONE}/versions/([^/]+)", code.OneVersion),
        (rf"{ONE}/diff", code.Diff),
        (rf"{ONE}/logs", logs.LogPageRoute),
        (rf"{ONE}/logs/stream", logs.LogStream),
        (rf"{ONE}/runs", code.Runs),
        (rf"{ONE}/usage", code.Usage),
        (rf"{ONE}/live", code.Live),
        (rf"{ONE}/parameters", code.Parameters),
        (rf"{ONE}/schedule/explain", code.Explain),
        (r"/api/calendars", whole.Calendars),
        (r"/api/calendar-overrides", whole.CalendarOverrides),
        (r"/api/calendars/([^/]+)", whole.OneCalendar),
        (r"/api/calendars/([^/]+)/overrides/([^/]+)", whole.CalendarOverride),
        (r"/api/events", events.EventList),
        (r"/api/events/stream", events.EventStream),
        (r"/api/mirror/stream", mirror.MirrorStream),
    ]
    return [(path, route, {"site": site}) for path, route in table]


class ApiServer:
    """The running API; `close` ends its streams and frees the port, connection.json stays."""

    def __init__(self, site: Site, server: AnsweringServer) -> None:
        self._site = site
        self._server = server

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens."""
        return self._site.endpoint

    @property
    def url(self) -> str:
        """The base URL."""
        return self._site.endpoint.url

    @property
    def token(self) -> str:
        """The admin token in force."""
        return self._site.endpoint.token

    async def close(self) -> None:
        """Stop listening, end all streams, close what is open."""
        self._server.stop()
        site = self._site
        for outbox in list(site.streams):
            outbox.close()
        site.logs.close()
        site.mirror.close()
        await site.events.close()
        await asyncio.wait_for(self._server.close_all_connections(), 5)
        site.endpoint.socket.close()


async def serve_api(core: Core, connection_path: Path) -> ApiServer:
    """Listen, then write connection.json; the core must be ready to answer."""
    # a malformed request is the caller's problem, not a line in our log
    logging.getLogger("tornado.general").setLevel(logging.ERROR)
    endpoint = await bind(connection_path, core.workspace)
    site = Site(
        core=core,
        tokens=Tokens(endpoint.token),
        endpoint=endpoint,
        mirror=mirror.MirrorFeed(core),
        events=events.EventFeed(core),
        logs=logs.LogFeeds(core),
    )
    core.tokens_are(site.tokens.by_role.values())
    application = Application(
        routes(site),
        default_handler_class=NoSuchPath,
        default_handler_args={"site": site},
        log_function=no_access_log,
    )
    server = AnsweringServer(
        application,
        idle_connection_timeout=IDLE_S,
        body_timeout=BODY_S,
        max_header_size=HEADER_BYTES,
        max_body_size=DISCARDED_BYTES,
        max_buffer_size=READ_BUFFER,
        chunk_size=65536,
    )
    server.add_sockets([endpoint.socket])
    endpoint.write()
    return ApiServer(site, server)
