"""Starting a strategy that has parameters: a typed form, checked in words as one types; others start at once."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.dashboard.conftest import SLOW_MS, Serve, Server, Visit
from tests.support import wait_for
from tests.workbench import Workbench

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW_MS)
EMA = "/api/strategies/ema"
SCRIPT = """
import time
import param
from stratpanel import live

class Settings(param.Parameterized):
    fast = param.Integer(9, bounds=(2, 100), doc="bars of the fast average")
    symbol = param.Selector(default="AAPL", objects=["AAPL", "GOOG"])
    even = param.Integer(2)

    def __init__(self, **values):
        super().__init__(**values)
        if self.even % 2:
            raise ValueError("even must be even")

settings = live.params(Settings)
print("fast", settings.fast, settings.symbol, flush=True)
while live.running():
    live.sleep(1)
"""


def stopped(serve: Serve, **declared: object) -> Server:
    server = serve(3)
    server.order("change", "ema", state="stopped", pid=None, scheduled=False)
    if declared.pop("declares", True):
        server.order("declare", "ema", **declared)
    return server


def press_start(page: Page) -> None:
    page.get_by_role("button", name="Start", exact=True).click()


def started_with(server: Server) -> list[object]:
    return wait_for(lambda: server.calls(f"{EMA}/start"), 20, "the start")


def test_the_form_has_defaults_bounds_choices_and_words(serve: Serve, visit: Visit) -> None:
    server = stopped(serve)
    server.order("configure", "ema", params={"ratio": 0.25})
    page = visit(server, "/?strategy=ema&tab=runs", ready=".sp.runs tbody tr")
    press_start(page)
    box = page.get_by_role("dialog")
    fast = box.get_by_label("fast", exact=True)
    expect(fast).to_have_value("9")
    expect(box.get_by_label("ratio")).to_have_value("0.25")  # what is configured counts more than the script's default
    expect(box.get_by_text("bars of the fast average <b>; from 2 to 100")).to_be_visible()
    expect(box.get_by_label("dry")).to_be_checked()
    go = box.get_by_role("button", name="Start with these")
    expect(go).to_be_focused()
    for label, text, words in (
        ("fast", "1", "must be from 2 to 100"),
        ("fast", "7.5", '"7.5" is not a whole number'),
        ("fast", "", "is missing"),
        ("ratio", "0", "must be more than 0 and at most 1"),
        ("tag", "Ab", "does not fit the pattern ^[a-z]*$"),
        ("limit", "x", '"x" is not a number'),
    ):
        before = box.get_by_label(label, exact=True).input_value()
        box.get_by_label(label, exact=True).fill(text)
        expect(box.get_by_text(words, exact=True)).to_be_visible()
        expect(go).to_be_disabled()
        box.get_by_label(label, exact=True).fill(before)
        expect(go).to_be_enabled()
    fast.fill("12")
    box.get_by_label("symbol").select_option(label="GOOG")
    box.get_by_label("dry").uncheck()
    go.click()
    assert started_with(server) == [{"params": {"fast": 12, "symbol": "GOOG", "dry": False}}]


def test_unchanged_it_is_one_click_and_passes_nothing(serve: Serve, visit: Visit) -> None:
    server = stopped(serve)
    page = visit(server, "/?strategy=ema&tab=runs", ready=".sp.runs tbody tr")
    press_start(page)
    expect(page.get_by_role("button", name="Start with these")).to_be_focused()
    page.keyboard.press("Enter")
    assert started_with(server) == [{}]


def test_a_strategy_without_parameters_starts_at_once(serve: Serve, visit: Visit) -> None:
    server = stopped(serve, declares=False)
    page = visit(server, "/?strategy=ema&tab=runs", ready=".sp.runs tbody tr")
    press_start(page)
    assert started_with(server) == [{}]


def test_parameters_that_cannot_be_read_are_told_and_do_not_stand_in_the_way(serve: Serve, visit: Visit) -> None:
    said = "the script's declarations raise ZeroDivisionError: <i>division</i> by zero"
    server = stopped(serve, problem=said, parameters=[])
    page = visit(server, "/?strategy=ema&tab=runs", ready=".sp.runs tbody tr")
    press_start(page)
    box = page.get_by_role("dialog")
    expect(box.get_by_text(said)).to_be_visible()
    expect(box.get_by_text("Mend the script under Source")).to_be_visible()
    page.keyboard.press("Escape")
    expect(box).to_have_count(0)
    assert server.calls(f"{EMA}/start") == []
    press_start(page)
    box.get_by_role("button", name="Start without parameters").click()
    assert started_with(server) == [{}]


def test_a_slow_read_says_so_and_can_be_left(serve: Serve, visit: Visit) -> None:
    server = stopped(serve)
    page = visit(server, "/?strategy=ema&tab=runs", ready=".sp.runs tbody tr")
    server.order("set", delay_s=4)
    press_start(page)
    expect(page.get_by_text("Reading the parameters of ema…")).to_be_visible()
    page.get_by_role("dialog").get_by_role("button", name="Start without parameters").click()
    server.order("set", delay_s=0)
    assert started_with(server) == [{}]


def test_the_form_over_a_real_script(bench: Workbench, real: Server, visit: Visit) -> None:
    bench.register("ema", SCRIPT)
    page = visit(real, "/?strategy=ema", ready=".strategy h1")
    press_start(page)
    box = page.get_by_role("dialog")
    box.get_by_label("fast", exact=True).fill("12")
    box.get_by_label("even", exact=True).fill("3")
    box.get_by_role("button", name="Start with these").click()
    expect(box.get_by_text("even must be even")).to_be_visible()  # only the script itself knows; the form is back
    expect(box.get_by_label("fast", exact=True)).to_have_value("12")
    box.get_by_label("even", exact=True).fill("4")
    box.get_by_role("button", name="Start with these").click()
    bench.wait_state("ema", "running")
    wait_for(lambda: "fast 12 AAPL" in bench.log("ema"), 20, "the parameter in the script")
    assert bench.api.get("/api/strategies/ema/runs")["runs"][0]["params"] == {"fast": 12, "even": 4}
    bench.cli("stop", "ema")

    bench.script("ema", SCRIPT.replace("    even = param.Integer(2)\n", "    even = 1 / 0\n"))
    press_start(page)
    expect(box.get_by_text("ZeroDivisionError")).to_be_visible()
    page.keyboard.press("Escape")
    bench.script("ema", "import endless_ema\n" + SCRIPT)
    (bench.folder / "strategies" / "scripts" / "endless_ema.py").write_text("while True: pass\n")
    press_start(page)
    expect(page.get_by_text("Reading the parameters of ema…")).to_be_visible()
    expect(box.get_by_text("took over 10 s: look for a slow or endless import")).to_be_visible()
    assert bench.status("ema")["state"] == "stopped"
