"""The launcher tile "Strategies" in JupyterLab: the full dashboard in a tab, through jupyter-server-proxy.

jupyter-server-proxy finds `setup` by its entry point and starts the page on a unix socket that only this account can
open; Jupyter has asked for its own token already, so there is no second login.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

START_TIMEOUT_S = 60
"""A cold start imports Panel and may start a supervisor; on a busy small machine that took 12 s."""


def setup() -> dict[str, Any]:
    """The server process as jupyter-server-proxy wants it; the workspace is the one Jupyter was started in."""
    command = [sys.executable, "-m", "stratpanel", "serve", "--no-open", "--no-token"]
    command += ["--unix-socket", "{unix_socket}", "--prefix", "{base_url}stratpanel"]
    return {
        "command": command,
        "unix_socket": True,
        "absolute_url": True,
        "timeout": START_TIMEOUT_S,
        "new_browser_tab": False,
        "launcher_entry": {
            "title": "Strategies",
            "icon_path": str(Path(__file__).with_name("tile.svg")),
            "category": "Other",
        },
    }
