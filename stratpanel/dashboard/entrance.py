"""Decides for each session who it is and what it gets: the dashboard, or a plain page that says why not.

Used by app.py; it is an imported module because an app script's names are cleared when its session ends. The decision
is
made inside the session, so a websocket client that skipped the page meets it too.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import panel as pn
from panel.io.resources import get_dist_path, patch_model_css

from stratpanel.client.connection import find_workspace
from stratpanel.dashboard.door import Door, cookies_of
from stratpanel.dashboard.office import office
from stratpanel.dashboard.page import page
from stratpanel.dashboard.roles import Person, person, roles_of
from stratpanel.dashboard.screen import Screen
from stratpanel.model.errors import Forbidden, StratpanelError, Unauthorized

log = logging.getLogger("stratpanel.dashboard")

DOOR: Door | None = None
"""Set by `stratpanel serve`."""

NAMED_ONLY = False
"""Set by `stratpanel serve` with OAuth: anybody can have an account there, so a name has to be under [roles]."""

_BARE_TOKEN: str | None = None


def let_in_named_only(on: bool) -> None:
    """From now on only people under [roles] come in."""
    global NAMED_ONLY
    NAMED_ONLY = on


def use_door(door: Door | None) -> None:
    """From now on sessions are those the door let in."""
    global DOOR
    DOOR = door


def session_page() -> Any:
    """The page of the current session."""
    try:
        workspace = find_workspace()
        who = _who(workspace)
        screen = Screen(office(workspace), who, _scheme())
    except StratpanelError as error:
        return _sorry(error.message)
    pn.state.on_session_destroyed(lambda _context: screen.close())
    warning = (
        "No token is asked for: every account of this machine that reaches this address can run code as you."
        if DOOR and DOOR.open_to_all
        else ""
    )
    search = urlencode({key: value[0].decode() for key, value in pn.state.session_args.items() if key != "token"})
    return page(screen, search=search, title=f"stratpanel · {workspace.name}", warning=warning)


def keep_local() -> None:
    """Have the current session's style sheets come from this server, however the session came to be.

    Panel writes CDN addresses into the models and replaces them when it renders the page. A session made by the
    websocket alone (the page's own had expired, or the server was restarted) is never rendered.
    """
    document = pn.state.curdoc
    for root in document.roots if document else ():
        patch_model_css(root, dist_url=get_dist_path(cdn=False))


def _scheme() -> str:
    return "dark" if cookies_of(pn.state.cookies).get("stratpanel_scheme") == "dark" else "light"


def _who(workspace: Path) -> Person:
    if DOOR is not None:
        name = DOOR.name_in(cookies_of(pn.state.cookies))
        if name is None:
            raise Unauthorized("this browser is not signed in; open the address that `stratpanel serve` printed")
        return person(workspace, name, holds_token=True)
    if pn.state.user:
        if NAMED_ONLY and str(pn.state.user) not in roles_of(workspace):
            raise Forbidden(
                f"{pn.state.user} is signed in but not named under [roles] in stratpanel.toml; ask the owner of this"
                " workspace to add the name"
            )
        return person(workspace, str(pn.state.user), holds_token=False)
    given = pn.state.session_args.get("token", [b""])[0]
    if not hmac.compare_digest(given, bare_token().encode()):
        raise Unauthorized(
            "this page needs the token that its server printed: add ?token=… to the address, or use `stratpanel serve`"
        )
    return person(workspace, "local", holds_token=True)


def bare_token() -> str:
    """The token of a bare `panel serve`, printed once; good while the server runs, since there is no cookie."""
    global _BARE_TOKEN
    if _BARE_TOKEN is None:
        _BARE_TOKEN = secrets.token_urlsafe(24)
        print(f"stratpanel: open this page with ?token={_BARE_TOKEN} (better: stratpanel serve)", flush=True)
    return _BARE_TOKEN


def _sorry(text: str) -> pn.viewable.Viewable:
    """A page that says why there is nothing to see; the text stays text."""
    return pn.Column(
        pn.pane.Str("stratpanel", styles={"font-size": "22px"}),
        pn.pane.Str(text, styles={"font-size": "15px", "white-space": "pre-wrap"}),
        max_width=720,
        margin=(60, 24),
    )
