"""What a closed page leaves behind: nothing."""

from __future__ import annotations

import pytest

from tests.dashboard.conftest import Serve, Visit
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
