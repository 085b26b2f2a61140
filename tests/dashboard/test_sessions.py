"""What a closed page leaves behind: nothing."""

from __future__ import annotations

import re

import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from tests.dashboard.conftest import Serve, Server, Visit, in_thread
from tests.dashboard.test_door import get, signed_in
from tests.support import wait_for

pytestmark = pytest.mark.browser


def test_nothing_of_a_closed_page_is_kept(serve: Serve, visit: Visit) -> None:
    server = serve(5)
    for path in ("/", "/?strategy=ema&tab=resources", "/?strategy=ema&tab=settings"):
        page = visit(server, path, ready=".head .totals b")
        page.get_by_role("button", name="activity").click()
        page.context.close()
    nothing = {"Screen": 0, "LogView": 0, "UsageCharts": 0, "StrategyPage": 0}
    wait_for(lambda: server.order("alive") == nothing, 60, "all pages to be forgotten", every=0.5)


def test_a_session_made_by_the_websocket_alone_asks_no_other_machine_for_anything(serve: Serve) -> None:
    """As when the page's own session expired before its websocket came, or the server was restarted under it."""
    server = serve(2, token=True)
    cookie = signed_in(server)
    page = get(server, "/", {"Cookie": cookie})[1]
    token = re.search(r'"token":\s*"([^"]+)"', page)[1]  # type: ignore[index]
    wait_for(lambda: server.order("alive")["Screen"] == 0, 60, "the page's session to expire", every=0.5)
    document = in_thread(pulled(server, cookie, token))
    assert "static/extensions/panel" in document
    assert "cdn.holoviz.org" not in document


async def pulled(server: Server, cookie: str, token: str) -> str:
    """The document that a websocket gets, as JSON."""
    url = server.base.replace("http", "ws") + "/ws"
    request = HTTPRequest(url, headers={"Cookie": cookie, "Origin": server.base})
    connection = await websocket_connect(request, subprotocols=["bokeh", token])
    ask = '{"msgid": "1", "msgtype": "PULL-DOC-REQ"}', "{}", "{}"
    got: list[str] = []
    while "ACK" not in "".join(got):  # a server that is asked before it is ready closes the connection
        message = await connection.read_message()
        assert message is not None, "the websocket was closed before the session was ready"
        got.append(str(message))
    for part in ask:
        await connection.write_message(part)
    while True:
        message = await connection.read_message()
        assert message is not None, "the websocket was closed"
        got.append(str(message))
        if len(got) > 1 and "PULL-DOC-REPLY" in "".join(got) and len(str(message)) > 1000:
            connection.close()
            return str(message)
