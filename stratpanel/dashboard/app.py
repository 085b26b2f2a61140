"""What `panel serve stratpanel/dashboard/app.py` and `stratpanel serve` serve: the dashboard of one workspace.

The workspace is $STRATPANEL_WORKSPACE, else the nearest folder with a stratpanel.toml. Served bare, without our door or
Panel's own authentication, the page asks for the token that it prints when the server starts.
"""

from __future__ import annotations

from stratpanel.dashboard.entrance import keep_local, session_page

session_page().servable(title="stratpanel")
keep_local()
