"""Edited code that does not run yet: the page says so, says what comes next, and the processes bear it out."""

from __future__ import annotations

import getpass

import pytest
from playwright.sync_api import expect

from tests.dashboard.conftest import SLOW_MS, Serve, Server, Visit
from tests.workbench import Workbench

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW_MS)
FIRST = "import time\nwhile True:\n    print('first', flush=True)\n    time.sleep(0.2)\n"


def test_an_edit_is_told_compared_deployed_and_run(bench: Workbench, real: Server, visit: Visit) -> None:
    bench.register("tick", FIRST)
    bench.cli("start", "tick")
    pid = bench.leader_pid("tick")
    overview = visit(real)
    mark = overview.locator('.board .row[data-id="tick"] .edited')
    expect(overview.locator('.board .row[data-id="tick"] .cell.state')).to_have_text("running")
    expect(mark).to_have_count(0)
    page = visit(real, "/?strategy=tick&tab=source", ready=".code[data-ready=ace]")
    banner = page.locator(".sp.copy")
    expect(banner).to_be_hidden()

    bench.script("tick", FIRST.replace("first", "second"))  # in an editor elsewhere
    expect(banner).to_contain_text("The working copy differs from version 1, which runs.")
    expect(banner).to_contain_text("until it is stopped and started again")
    expect(mark).to_have_text("edited")
    expect(mark.locator("..")).to_have_attribute("title", "tick. The working copy differs from version 1, which runs.")

    banner.get_by_role("button", name="Diff").click()
    expect(page.locator(".diff .plus")).to_contain_text("second")
    banner.get_by_role("button", name="Deploy").click()
    expect(page.get_by_text("deployed as v2; v1 runs on until it is stopped and started again")).to_be_visible()
    expect(banner).to_contain_text("Version 2 is deployed, version 1 runs.")
    expect(banner.get_by_role("button", name="Deploy")).to_be_hidden()
    expect(page.locator(".versions li").first).to_contain_text("v2")
    expect(mark).to_have_text("newer version")
    assert bench.leader_pid("tick") == pid, "a deploy touches nothing that runs"

    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Start", exact=True).click()
    expect(banner).to_be_hidden()
    expect(mark).to_have_count(0)
    assert bench.status("tick")["version"] == 2


def test_every_standing_has_its_words(serve: Serve, visit: Visit) -> None:
    server = serve(1)
    page = visit(server, "/?strategy=ema&tab=source", ready=".code[data-ready=ace]")
    banner = page.locator(".sp.copy")
    expect(banner).to_be_hidden()
    run_two = {"working_copy_differs": True, "deployed_version": 2, "version": 2, "mode": "paper"}
    server.order("change", "ema", **run_two, working_copy_version=None)
    expect(banner).to_contain_text("differs from version 2, which runs. Deploy makes it the version that the next")
    server.order("change", "ema", mode="live", promoted_version=1, version=1)
    expect(banner).to_contain_text("Promote lets live starts run that one")
    server.order("change", "ema", working_copy_version=2)
    expect(banner).to_contain_text("Version 2 is deployed but not promoted. Until it is, live starts run version 1.")
    server.order("change", "ema", state="stopped", pid=None, promoted_version=None)
    expect(banner).to_contain_text("no version is promoted, so a live start is refused")
    server.order("change", "ema", mode="paper", working_copy_version=None)
    expect(banner).to_contain_text("differs from version 2, which the schedule runs")
    page.get_by_role("tab", name="Logs").click()
    expect(page.locator(".strategy .notice")).to_contain_text("The working copy differs from version 2")
    page.locator(".strategy .notice").get_by_role("button", name="Source").click()
    expect(page.locator(".strategy .notice")).to_be_hidden()
    server.order("change", "ema", working_copy_differs=False, working_copy_version=2)
    expect(banner).to_be_hidden()


def test_a_viewer_sees_the_banner_and_cannot_deploy(serve: Serve, visit: Visit) -> None:
    server = serve(1, toml=f'[roles]\n{getpass.getuser()} = "viewer"\n')
    page = visit(server, "/?strategy=ema&tab=source", ready=".code[data-ready]")
    server.order("change", "ema", working_copy_differs=True, deployed_version=2, version=2)
    deploy = page.locator(".sp.copy").get_by_role("button", name="Deploy")
    expect(deploy).to_be_disabled()
    expect(deploy).to_have_attribute("title", "Deploying needs the role admin")
