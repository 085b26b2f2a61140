"""Who gets in: one-time tokens, signed cookies and sessions, host names, origins; and what the server says when it
ends."""

from __future__ import annotations

import http.client
import re
from urllib.parse import urlsplit

import pytest
from bokeh.client import pull_session
from bokeh.util.token import generate_jwt_token, generate_session_id
from playwright.sync_api import expect
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from stratpanel.dashboard.serve import check_address
from stratpanel.model.errors import InvalidValue
from tests.dashboard.conftest import Serve, Server, Visit, in_thread
from tests.support import wait_for


def get(server: Server, path: str, headers: dict[str, str] | None = None) -> tuple[int, str, dict[str, str]]:
    address = urlsplit(server.base)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=20)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


def signed_in(server: Server) -> str:
    """The cookie that the printed address gives."""
    status, _, headers = get(server, server.url.removeprefix(server.base))
    assert status == 302
    return headers["set-cookie"].split(";")[0]


def test_the_token_opens_once_and_the_next_one_is_printed(serve: Serve) -> None:
    server = serve(1, token=True)
    status, _, headers = get(server, "/")
    assert status == 302
    assert "login" in headers["location"]
    path = server.url.removeprefix(server.base)
    assert get(server, path)[0] == 302
    again = get(server, path)
    assert again[0] == 403
    assert "set-cookie" not in again[2]
    assert get(server, "/login?token=guess")[0] == 403
    printed = wait_for(lambda: [line for line in server.lines if "another browser" in line], 10)
    assert get(server, "/" + re.search(r"login\?token=\S+", printed[-1])[0])[0] == 302  # type: ignore[index]


def test_the_cookie_is_kept_from_scripts_and_a_forged_one_is_refused(serve: Serve) -> None:
    server = serve(1, token=True)
    _, _, headers = get(server, server.url.removeprefix(server.base))
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    name = cookie.split("=")[0]
    assert get(server, "/", {"Cookie": cookie.split(";")[0]})[0] == 200
    assert get(server, "/", {"Cookie": f"{name}=root"})[0] == 302
    assert (
        get(server, "/", {"Cookie": f'{name}="2|1:0|10:1700000000|{len(name)}:{name}|8:cm9vdA==|{"0" * 64}"'})[0] == 302
    )
    key = next(server.cwd.rglob("dashboard.key"))
    assert key.stat().st_mode & 0o077 == 0


def test_after_signing_in_nobody_is_sent_elsewhere(serve: Serve) -> None:
    server = serve(1, token=True)
    path = server.url.removeprefix(server.base)
    _, _, headers = get(server, path + "&next=https://evil.example/")
    assert headers["location"] == "/"


def test_another_name_in_host_is_refused_though_the_cookie_is_right(serve: Serve) -> None:
    server = serve(1, token=True)
    cookie = signed_in(server)
    assert get(server, "/", {"Cookie": cookie, "Host": "evil.example"})[0] == 302
    assert get(server, server.url.removeprefix(server.base), {"Host": "evil.example"})[0] == 403


async def open_websocket(server: Server, headers: dict[str, str], token: str) -> None:
    url = server.base.replace("http", "ws") + "/ws"
    connection = await websocket_connect(HTTPRequest(url, headers=headers), subprotocols=["bokeh", token])
    message = await connection.read_message()
    connection.close()
    if message is None:
        raise PermissionError("closed without a word")


def test_a_websocket_needs_the_cookie_a_signed_session_and_our_origin(serve: Serve) -> None:
    server = serve(1, token=True)
    cookie = signed_in(server)
    body = get(server, "/", {"Cookie": cookie})[1]
    good = re.search(r'"token":\s*"([^"]+)"', body)[1]  # type: ignore[index]
    ours = {"Cookie": cookie, "Origin": server.base}
    in_thread(open_websocket(server, ours, good))
    refused = (HTTPClientError, PermissionError)
    with pytest.raises(refused):
        in_thread(open_websocket(server, {"Origin": server.base}, good))
    with pytest.raises(refused):
        in_thread(open_websocket(server, {**ours, "Origin": "http://evil.example"}, good))
    unsigned = generate_jwt_token(generate_session_id(signed=False), signed=False)
    with pytest.raises(refused):
        in_thread(open_websocket(server, ours, unsigned))


def test_a_bokeh_client_without_cookie_gets_no_session(serve: Serve) -> None:
    server = serve(1, token=True)
    with pytest.raises((OSError, RuntimeError)):
        pull_session(url=server.base + "/", session_id=generate_session_id(signed=False))


def test_other_machines_are_let_in_only_with_real_authentication() -> None:
    check_address("127.0.0.1", "token", no_token=False, unix_socket=False)
    check_address("0.0.0.0", "oauth", no_token=False, unix_socket=False)
    for address in ("0.0.0.0", "192.168.1.5", ""):
        with pytest.raises(InvalidValue, match="ssh -L"):
            check_address(address, "token", no_token=False, unix_socket=False)
    with pytest.raises(InvalidValue, match="this machine alone"):
        check_address("0.0.0.0", "basic", no_token=True, unix_socket=False)


def test_ctrl_c_says_that_strategies_go_on_and_how_to_stop_them(serve: Serve) -> None:
    server = serve(1)
    said = "\n".join(server.interrupt())
    assert "Supervisor and strategies go on" in said
    assert "stop --all" in said
    assert "down" in said
    assert "Traceback" not in said


@pytest.mark.browser
def test_the_printed_address_shows_the_page(serve: Serve, visit: Visit) -> None:
    server = serve(2, token=True)
    page = visit(server, server.url.removeprefix(server.base))
    expect(page.locator(".board .row")).to_have_count(2, timeout=30_000)
    assert "token" not in page.url
