"""`stratpanel serve`: Panel's server with the right settings, until Ctrl-C; supervisor and strategies go on after it.

Run as `python -m stratpanel.dashboard.serve`. It listens on loopback unless real authentication is configured, signs
session ids with a key of the workspace, compresses, and builds the page once before the first visitor comes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stratpanel.model.errors import InvalidValue, StratpanelError

APP = Path(__file__).with_name("app.py")
DEFAULT_PORT = 5006
CLOSED_PAGE_S = 15.0  # how long a session waits for its browser, and outlives it
CHECK_S = 2.0


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line of the server."""
    parser = argparse.ArgumentParser("stratpanel serve")
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--address")
    parser.add_argument("--prefix")
    parser.add_argument("--unix-socket")
    parser.add_argument(
        "--allow-origin", action="append", default=[], help="a host[:port] that may open the websocket, besides our own"
    )
    parser.add_argument("--no-token", action="store_true")
    parser.add_argument("--no-open", action="store_true")
    return parser.parse_args(given)


def loopback(address: str) -> bool:
    """True when only this machine reaches the address."""
    return address in ("localhost", "::1") or address.startswith("127.")


def check_address(address: str, auth: str, *, no_token: bool, unix_socket: bool) -> None:
    """Raise InvalidValue when this would put a shell on the network without asking who comes."""
    if unix_socket or loopback(address):
        return
    if auth not in ("basic", "oauth"):
        raise InvalidValue(
            f"{address} is reachable from other machines, and the page can run code;"
            ' set auth = "basic" or "oauth" under [dashboard] in stratpanel.toml,'
            " or keep 127.0.0.1 and use an SSH tunnel: ssh -L 5006:127.0.0.1:5006 HOST"
        )
    if no_token:
        raise InvalidValue("--no-token is for this machine alone")


def oauth(workspace: Path, provider: str | None) -> dict[str, Any]:
    """What Panel needs to ask an OAuth provider who comes. Raises InvalidValue when something of it is missing."""
    from stratpanel.dashboard.roles import roles_of

    missing = [name for name in ("PANEL_OAUTH_KEY", "PANEL_OAUTH_SECRET") if not os.environ.get(name)]
    if missing:
        raise InvalidValue(f'auth = "oauth" needs {" and ".join(missing)} in the environment of stratpanel serve')
    if not roles_of(workspace):
        raise InvalidValue(
            f"anybody can have an account with {provider}, and the page can run code; name who may come under [roles]"
            ' in stratpanel.toml: "name" = "viewer" | "operator" | "admin"'
        )
    return {
        "oauth_provider": provider,
        "oauth_key": os.environ["PANEL_OAUTH_KEY"],
        "oauth_secret": os.environ["PANEL_OAUTH_SECRET"],
    }


def build(options: argparse.Namespace) -> tuple[Any, Any, str]:
    """The server (not yet started), its door or None, and its base URL."""
    from stratpanel.process.paths import Runtime
    from stratpanel.supervisor.configuration.settings import load_settings

    workspace = options.workspace.resolve()
    settings = load_settings(workspace)
    wanted = settings.dashboard
    address = options.address or wanted.address
    port = options.port if options.port is not None else wanted.port or DEFAULT_PORT
    auth = "none" if options.no_token else wanted.auth
    check_address(address, wanted.auth, no_token=options.no_token, unix_socket=bool(options.unix_socket))
    os.environ["STRATPANEL_WORKSPACE"] = str(workspace)

    from stratpanel.dashboard.door import signing_key

    key = signing_key(Runtime.of(workspace).root)
    # Bokeh reads these when it checks a session's signature in places that are given no key.
    os.environ |= {"BOKEH_SECRET_KEY": key, "BOKEH_SIGN_SESSIONS": "true"}
    import panel as pn
    from panel.io.server import get_server
    from tornado.web import GZipContentEncoding

    from stratpanel.dashboard import entrance
    from stratpanel.dashboard.door import Door, TokenAuth, allowed_hosts

    prefix = (options.prefix or wanted.prefix or "").rstrip("/")
    hosts = allowed_hosts(address, port, [*wanted.origins, *options.allow_origin])
    door = None
    extra: dict[str, Any] = {}
    if auth in ("token", "none"):
        door = Door(workspace, key, said=_say, open_to_all=auth == "none")
        entrance.use_door(door)
        extra["auth_provider"] = TokenAuth(door)
    elif auth == "basic":
        extra["basic_auth"] = str(workspace / str(wanted.users))
    else:
        extra |= oauth(workspace, wanted.oauth_provider)
    entrance.let_in_named_only(auth == "oauth")
    if options.unix_socket:
        extra["unix_socket"] = options.unix_socket
    else:
        extra |= {"address": address}
    pn.config.notifications = False
    GZipContentEncoding.GZIP_LEVEL = 4  # half the time of 6 for 4 % more bytes; a cold page is 4.6 MB to be compressed
    _quiet()
    server = get_server(
        {"/": str(APP)},
        port=0 if options.unix_socket else port,
        prefix=prefix,
        websocket_origin=hosts or ["*"],
        cookie_secret=key,
        secret_key=key.encode(),
        sign_sessions=True,
        generate_session_ids=True,
        compress_response=True,
        use_xheaders=bool(prefix or options.allow_origin),
        session_token_expiration=300,
        check_unused_sessions_milliseconds=int(CHECK_S * 1000),
        unused_session_lifetime_milliseconds=int(CLOSED_PAGE_S * 1000),
        keep_alive_milliseconds=15_000,
        title="stratpanel",
        **extra,
    )
    shown = "localhost" if address in ("0.0.0.0", "::", "") else address
    actual = port if options.unix_socket else server.port
    base = f"http://{shown}:{actual}{prefix}"
    if port == 0 and not options.unix_socket:  # the system chose; only now are our own names known
        server._tornado.websocket_origins.update(allowed_hosts(address, actual, []))
    if door is not None:
        door.base_url = base
        if not options.unix_socket:
            door.hosts = frozenset(
                host.lower() for host in allowed_hosts(address, actual, [*wanted.origins, *options.allow_origin])
            )
    return server, door, base


def _say(text: str) -> None:
    """Print a line; a reader that went away (`stratpanel serve | head -1`) closes no dashboard."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Noise(logging.Filter):
    """Drops what Bokeh says when a browser goes in the middle of a message."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return not any(
            word in text
            for word in ("WebSocketClosedError", "StreamClosedError", "WebSocket connection", "Dropping a patch")
        )


def _quiet() -> None:
    for name in ("tornado.access", "bokeh.server.views.ws", "tornado.application", "bokeh.server.contexts"):
        logging.getLogger(name).addFilter(_Noise())
    logging.getLogger("tornado.access").setLevel(logging.ERROR)


def farewell(workspace: Path) -> str:
    """What Ctrl-C says: nothing was stopped, and how to stop it."""
    at = f" -w {workspace}" if workspace != Path.cwd() else ""
    return (
        "\nThe dashboard is closed. Supervisor and strategies go on.\n"
        f"  stratpanel{at} serve          open the dashboard again\n"
        f"  stratpanel{at} status         see what runs\n"
        f"  stratpanel{at} stop --all     stop the strategies\n"
        f"  stratpanel{at} down           stop strategies and supervisor\n"
        "Stopping a process does not close positions."
    )


def main(given: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM."""
    options = arguments(given)
    try:
        server, door, base = build(options)
    except StratpanelError as error:
        print(f"stratpanel serve: {error.message}", file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"stratpanel serve: cannot listen: {error.strerror or error};"
            " another dashboard may run already, or choose another --port",
            file=sys.stderr,
        )
        return 1
    from stratpanel.dashboard.office import close_all

    loop = asyncio.get_event_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.io_loop.stop)
    server.start()
    loop.call_soon(_warm, server)
    url = door.url() if door else f"{base}/"
    where = f"unix socket {options.unix_socket}" if options.unix_socket else url
    _say(f"dashboard of {options.workspace.resolve()}: {where}")
    if door is not None and door.open_to_all:
        _say("no token is asked for: whoever reaches this address can run code as you")
    if not options.no_open and not options.unix_socket and os.environ.get("DISPLAY", os.environ.get("WAYLAND_DISPLAY")):
        with contextlib.suppress(webbrowser.Error):  # no browser here: the address is printed
            webbrowser.open(url)
    try:
        server.io_loop.start()
    finally:
        close_all()
        server.stop()
    _say(farewell(options.workspace.resolve()))
    return 0


def _warm(server: Any) -> None:
    """Connect to the supervisor and import what a page needs, before somebody waits for it."""
    from stratpanel.client.connection import find_workspace
    from stratpanel.dashboard.office import office

    try:
        office(find_workspace())
    except StratpanelError as error:
        _say(f"the supervisor cannot be reached yet: {error.message}")


if __name__ == "__main__":
    sys.exit(main())
