"""The page as others serve it: passwords, a proxy with TLS and a prefix, a unix socket, an OAuth provider."""

from __future__ import annotations

import http.client
import io
import json
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from playwright.sync_api import Browser, expect

from stratpanel.dashboard import entrance
from stratpanel.model.errors import Forbidden
from tests.dashboard.conftest import SLOW_MS, Serve, Server, Visit
from tests.dashboard.proxy import Proxy, certificate
from tests.support import wait_for

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW_MS)
BASIC = '[dashboard]\nauth = "basic"\nusers = "users.json"\n\n[roles]\nasha = "admin"\nbob = "viewer"\n'
OAUTH = '[dashboard]\nauth = "oauth"\noauth_provider = "github"\n\n[roles]\nasha = "admin"\n'


@pytest.fixture
def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def proxied(serve: Serve, free_port: int, tmp_path: Path) -> Iterator[tuple[Server, Proxy]]:
    """A server under /desk, reached through a TLS proxy with another port."""
    pem = certificate(tmp_path)
    server = serve(3, "--prefix", "/desk", "--allow-origin", f"localhost:{free_port}", token=True)
    with Proxy(free_port, urlsplit(server.base).port or 0, pem) as proxy:
        yield server, proxy


def test_behind_a_tls_proxy_with_a_prefix(proxied: tuple[Server, Proxy], chromium: Browser) -> None:
    server, proxy = proxied
    token = parse_qs(urlsplit(server.url).query)["token"][0]
    context = chromium.new_context(ignore_https_errors=True)
    context.set_default_timeout(SLOW_MS)
    page = context.new_page()
    outside: list[str] = []
    errors: list[str] = []
    allowed = (proxy.url, proxy.url.replace("https", "wss"), "data:", "blob:")
    page.on("request", lambda asked: None if asked.url.startswith(allowed) else outside.append(asked.url))
    page.on("console", lambda said: errors.append(said.text) if said.type in ("error", "warning") else None)
    page.goto(f"{proxy.url}/desk/")
    expect(page.get_by_label("Token")).to_be_visible()
    page.goto(f"{proxy.url}/desk/login?token={token}")
    page.wait_for_url(f"{proxy.url}/desk/")
    expect(page.locator(".board .row")).to_have_count(3)
    cookie = next(one for one in context.cookies() if one["name"].startswith("stratpanel_"))
    assert cookie["secure"], "signed in over TLS: never sent in the clear"
    assert cookie["httpOnly"]
    page.get_by_role("button", name="stop ema").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect(page.locator('.board .row[data-id="ema"] .cell.state')).to_have_text("stopped")
    page.locator('.board .row[data-id="ema"] .cell.why').dblclick()
    page.wait_for_url("**/desk/?strategy=ema&tab=logs")
    assert outside == []
    assert errors == []
    context.close()


def test_passwords_open_the_page_and_bring_their_role(serve: Serve, chromium: Browser, free_port: int) -> None:
    server = serve(3, "--port", str(free_port), toml=BASIC, token=True, users={"asha": "long password", "bob": "other"})
    context = chromium.new_context()
    context.set_default_timeout(SLOW_MS)
    page = context.new_page()

    def sign_in(name: str, password: str) -> None:
        page.goto(server.base + "/")
        page.wait_for_url("**/login*")
        page.locator("input[name=username]").fill(name)
        page.locator("input[name=password]").fill(password)
        page.locator("input[type=submit], button[type=submit]").first.click()

    sign_in("bob", "wrong")
    expect(page.locator(".board")).to_have_count(0)
    sign_in("bob", "other")
    expect(page.locator(".board .row")).to_have_count(3)
    stop = page.get_by_role("button", name="stop ema")
    expect(stop).to_be_disabled()
    expect(stop).to_have_attribute("title", "Your role is viewer: it may look, not act")
    context.clear_cookies()
    sign_in("asha", "long password")
    expect(page.locator(".board .row")).to_have_count(3)
    expect(stop).to_be_enabled()
    context.close()


def test_a_stranger_is_sent_to_the_oauth_provider(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANEL_OAUTH_KEY", "the-client-id")
    monkeypatch.setenv("PANEL_OAUTH_SECRET", "the-client-secret")
    server = serve(1, toml=OAUTH, token=True)
    parts = urlsplit(server.base)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    connection.request("GET", "/")
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 302
    assert "/login" in (answer.headers["location"] or "")
    connection.request("GET", urljoin("/", answer.headers["location"] or ""))
    answer = connection.getresponse()
    answer.read()
    connection.close()
    target = urlsplit(answer.headers["location"] or "")
    assert answer.status == 302
    assert target.netloc == "github.com"
    assert parse_qs(target.query)["client_id"] == ["the-client-id"]
    assert "the-client-secret" not in (answer.headers["location"] or "")


@pytest.mark.parametrize(
    ("toml", "key", "said"),
    [(OAUTH, "", "needs PANEL_OAUTH_KEY"), (OAUTH.split("[roles]")[0], "id", "name who may come under [roles]")],
)
def test_oauth_is_refused_where_anybody_or_nobody_could_come(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, toml: str, key: str, said: str
) -> None:
    monkeypatch.setenv("PANEL_OAUTH_KEY", key)
    monkeypatch.setenv("PANEL_OAUTH_SECRET", "secret")
    with pytest.raises(AssertionError, match="the server left") as left:
        serve(1, toml=toml, token=True)
    assert said in str(left.value)


def test_a_name_of_the_provider_is_let_in_only_from_the_roles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stratpanel.toml").write_text('[roles]\nasha = "operator"\n', encoding="utf-8")
    monkeypatch.setattr(entrance, "DOOR", None)
    monkeypatch.setattr(entrance, "NAMED_ONLY", True)
    user = ["asha"]
    monkeypatch.setattr(type(entrance.pn.state), "user", property(lambda _state: user[0]))
    assert entrance._who(tmp_path).role == "operator"
    user[0] = "mallory"
    with pytest.raises(Forbidden, match="mallory is signed in but not named"):
        entrance._who(tmp_path)


def test_a_unix_socket_is_served_to_whoever_may_open_the_file(serve: Serve, tmp_path: Path) -> None:
    place = tmp_path / "page.sock"
    server = serve(1, "--unix-socket", str(place), ready="unix socket")
    wait_for(place.exists, 20, "the socket")
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(20)
        line.connect(str(place))
        line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while part := line.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"stratpanel" in answer
    assert place.stat().st_mode & 0o077 == 0, "other accounts of this machine must not reach a shell"
    assert server.interrupt()


def test_a_zip_becomes_a_folder_strategy(serve: Serve, visit: Visit, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("pairs/main.py", "print('pairs')\n")
        archive.writestr("pairs/prices.py", "TICK = 1\n")
    server = serve(2)
    page = visit(server, "/?page=new", ready="text=New strategy")
    page.get_by_role("textbox", name="Id").fill("pairs")
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_text("choose a file")).to_be_visible()
    page.locator("input[type=file]").set_input_files(
        {"name": "pairs.zip", "mimeType": "application/zip", "buffer": packed.getvalue()}
    )
    expect(page.get_by_text("choose a file")).to_have_count(0)  # the server has it
    page.get_by_role("button", name="Make it").click()
    posted = wait_for(lambda: server.calls("/api/strategies"), 20, "the upload")[0]
    body = posted if isinstance(posted, str) else json.dumps(posted)
    assert 'filename="pairs.zip"' in body
    assert "PK" in body


def test_a_cold_page_is_brought_once_and_its_scripts_run_as_they_are(serve: Serve, visit: Visit) -> None:
    """Its largest file loads early and natively, and no script of ours is translated in the browser."""
    page = visit(serve(3))
    brought = page.evaluate("() => performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert len([name for name in brought if "panel-material-ui.bundle.js" in name]) == 1
    ours = page.evaluate(
        """() => Bokeh.documents.flatMap((document) => [...document._all_models.values()])
          .filter((model) => ["Wire", "Board", "Header", "Notices", "LogView"].includes(model.class_name))
          .map((model) => [model.class_name, model.bundle, model.compiled === model.esm])"""
    )
    assert {name for name, _, _ in ours} == {"Wire", "Board", "Header", "Notices", "LogView"}
    assert all(bundle and as_it_is for _, bundle, as_it_is in ours), ours
