"""What a view is told arrives in order, also what a cell's view is told before its browser is there."""

from __future__ import annotations

import asyncio

import panel as pn
from bokeh.document import Document
from panel.io.state import set_curdoc

from stratpanel.dashboard.delivery import Delivery


def test_a_held_delivery_keeps_everything_until_it_is_released() -> None:
    async def tell() -> list[int]:
        told: list[int] = []
        delivery = Delivery()
        delivery.hold()
        for n in range(3):
            delivery.run(lambda n=n: told.append(n))  # type: ignore[misc]
        await asyncio.sleep(0)
        assert told == []
        delivery.release()
        delivery.run(lambda: told.append(3))
        await asyncio.sleep(0)
        return told

    assert asyncio.run(tell()) == [0, 1, 2, 3]


def test_a_page_is_written_as_itself_whoever_asked_for_its_turn() -> None:
    mine, another = Document(), Document()
    delivery = Delivery()
    delivery._doc = mine
    seen: list[object] = []
    with set_curdoc(another):  # a shared feed was read in the context of another page
        delivery.run(lambda: seen.append((pn.state.curdoc is mine, mine.callbacks.hold_value)))
        mine.session_callbacks[0].callback()
        assert pn.state.curdoc is another
    assert seen == [(True, "collect")]
    assert mine.callbacks.hold_value is None
