"""Serves the real pages over a fake workspace: `python -m tests.dashboard.fake_app PORT COUNT`. For screenshots and page tests."""

from __future__ import annotations

import asyncio
import sys

import panel as pn

from stratpanel.dashboard.page import page
from stratpanel.dashboard.roles import Person
from stratpanel.dashboard.screen import Office, Screen
from tests.dashboard.fake import FakeWorkspace

STATE: dict[str, object] = {}


def build(count: int) -> object:
    if "office" not in STATE:
        fake = FakeWorkspace(count)
        fake.on_loop(asyncio.get_event_loop())
        STATE["office"] = Office(fake, fake)
        STATE["tasks"] = [asyncio.ensure_future(fake.run()), asyncio.ensure_future(chatter(fake))]
    scheme = pn.state.cookies.get("stratpanel_scheme", "light") if pn.state.curdoc else "light"
    screen = Screen(STATE["office"], Person("tester", "admin"), scheme if scheme in ("light", "dark") else "light")
    pn.state.on_session_destroyed(lambda _context: screen.close())
    return page(screen, title="stratpanel")


async def chatter(fake: FakeWorkspace) -> None:
    n = 0
    while True:
        await asyncio.sleep(0.2)
        n += 1
        for id_ in list(fake.rows)[:8]:
            fake.print(
                id_,
                f"\x1b[32mINFO\x1b[0m tick {n} <b>markup & stays text</b>"
                if n % 17
                else f"ERROR order {n} rejected: margin",
            )


if __name__ == "__main__":
    port, count = int(sys.argv[1]), int(sys.argv[2])
    pn.serve(
        {"/": lambda: build(count)},
        port=port,
        address="127.0.0.1",
        show=False,
        title="stratpanel",
        websocket_origin=[f"127.0.0.1:{port}"],
    )
