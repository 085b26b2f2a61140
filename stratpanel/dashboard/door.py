"""Who may open the page: a one-time token, exchanged for a signed cookie, asked for on loopback too.

Reaching the page is reaching a shell, so another account of this machine must not. Bokeh asks `get_user` for the page
and
for its websocket alike; a websocket without the cookie, or with an unsigned session, is refused.
"""

from __future__ import annotations

import getpass
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from bokeh.server.auth_provider import AuthProvider
from tornado.web import RequestHandler, decode_signed_value

COOKIE_DAYS = 7
KEY_BYTES = 32


def signing_key(folder: Path) -> str:
    """The key of this workspace's cookies and session ids, made once, readable by its owner only."""
    path = folder / "dashboard.key"
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        pass  # the first page of this workspace
    folder.mkdir(parents=True, exist_ok=True)
    key = secrets.token_hex(KEY_BYTES)
    temporary = folder / f"dashboard.key.{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key)
    try:
        os.link(temporary, path)  # whoever was first wins, and everybody uses that one
    except FileExistsError:
        key = path.read_text(encoding="ascii").strip()
    finally:
        temporary.unlink()
    return key


class Door:
    """The tokens of one server and the cookie they are exchanged for."""

    def __init__(
        self, workspace: Path, key: str, *, said: Callable[[str], None] = print, open_to_all: bool = False
    ) -> None:
        self.cookie = "stratpanel_" + hashlib.sha256(str(workspace).encode()).hexdigest()[:10]
        self.key = key
        self.open_to_all = open_to_all
        self.base_url = ""
        self.hosts: frozenset[str] = frozenset()
        self._said = said
        self._tokens: list[str] = []

    def mint(self) -> str:
        """A new one-time token; the last few stay good, so that a printed URL is not void at once."""
        token = secrets.token_urlsafe(24)
        self._tokens = [*self._tokens[-4:], token]
        return token

    def url(self) -> str:
        """An address that opens the page once."""
        return f"{self.base_url}/login?token={self.mint()}" if not self.open_to_all else f"{self.base_url}/"

    def spend(self, given: str) -> bool:
        """True once for each token; compared in constant time."""
        found = None
        for token in self._tokens:
            if hmac.compare_digest(token.encode(), given.encode("utf-8", "replace")):
                found = token
        if found is None:
            return False
        self._tokens.remove(found)
        self._said(f"signed in. For another browser: {self.url()}")
        return True

    def name_in(self, cookies: Mapping[str, str]) -> str | None:
        """Whom the signed cookie names, None without a valid one."""
        if self.open_to_all:
            return getpass.getuser()
        value = cookies.get(self.cookie)
        if not value:
            return None
        name = decode_signed_value(self.key, self.cookie, value, max_age_days=COOKIE_DAYS)
        return name.decode() if name else None

    def knows(self, host: str) -> bool:
        """True for the host names this page is served under; another name in `Host` is a rebound one."""
        return not self.hosts or host.lower() in self.hosts


class TokenAuth(AuthProvider):
    """Bokeh's view of the door."""

    def __init__(self, door: Door) -> None:
        self._door = door
        super().__init__()

    @property
    def get_user(self) -> Callable[[RequestHandler], str | None]:
        door = self._door

        def user(handler: RequestHandler) -> str | None:
            if not door.knows(handler.request.host):
                return None
            return door.name_in({name: morsel.value for name, morsel in handler.request.cookies.items()})

        return user

    @property
    def get_user_async(self) -> None:
        return None

    @property
    def login_url(self) -> str:
        return "/login"

    @property
    def get_login_url(self) -> None:
        return None

    @property
    def login_handler(self) -> type[RequestHandler]:
        return _login_page(self._door)

    @property
    def logout_url(self) -> str:
        return "/logout"

    @property
    def logout_handler(self) -> type[RequestHandler]:
        return _logout_page(self._door)


def _login_page(door: Door) -> type[RequestHandler]:
    class Login(RequestHandler):
        """GET with `token` exchanges it; without, it asks for one."""

        def get(self) -> None:
            if not door.knows(self.request.host):
                self.set_status(403)
                self.finish("this page is not served under this name")
                return
            token = self.get_argument("token", "")
            if token and door.spend(token):
                self.set_signed_cookie(
                    door.cookie,
                    getpass.getuser(),
                    expires_days=COOKIE_DAYS,
                    httponly=True,
                    samesite="Lax",
                    secure=self.request.protocol == "https",
                    path="/",
                )
                self.redirect(_local(self.get_argument("next", ""), getattr(self.application, "prefix", "")))
                return
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.set_header("Cache-Control", "no-store")
            if token:
                self.set_status(403)
            self.finish(_ask("That token was used already, or is not of this server." if token else ""))

    return Login


def _logout_page(door: Door) -> type[RequestHandler]:
    class Logout(RequestHandler):
        """Forget this browser."""

        def get(self) -> None:
            self.clear_cookie(door.cookie)
            self.redirect("./login")

    return Logout


def _local(target: str, prefix: str) -> str:
    """Where to go after signing in: a path of this server, never another one."""
    if target.startswith("/") and not target.startswith(("//", "/\\")) and "\\" not in target:
        return target
    return f"{prefix}/"


def _ask(problem: str) -> str:
    said = f"<p class=bad role=alert>{escape(problem)}</p>" if problem else ""
    return f"""<!doctype html>
<html lang=en>
<meta charset=utf-8>
<title>stratpanel</title>
<meta name=viewport content="width=device-width">
<style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 30em; margin: 16vh auto; padding: 0 16px }}
input, button {{ font: inherit; padding: 6px 10px }}
input {{ width: 100%; box-sizing: border-box; margin: 6px 0 12px }}
.bad {{ color: #b3201b }}
@media (prefers-color-scheme: dark) {{ .bad {{ color: #ff8a80 }} }}
</style>
<h1>stratpanel</h1>
{said}
<p>Open the address that <code>stratpanel serve</code> printed, or paste its token.
Each token opens one browser, once; the terminal shows the next one.</p>
<form><label>Token<input name=token autocomplete=off autofocus></label><button>Open</button></form>
</html>"""


def allowed_hosts(address: str, port: int, origins: Iterable[str]) -> list[str]:
    """The values of `Host` and `Origin` this server answers to."""
    names = [address] if address not in ("", "0.0.0.0", "::") else []
    if address in ("127.0.0.1", "localhost"):
        names = ["127.0.0.1", "localhost"]
    return [*(f"{name}:{port}" for name in names), *origins]


def cookies_of(request: Any) -> dict[str, str]:
    """Cookies as plain text, from a handler's request or Panel's session."""
    return {str(name): str(getattr(value, "value", value)) for name, value in dict(request or {}).items()}
