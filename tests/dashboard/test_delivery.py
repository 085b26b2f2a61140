"""What a cell's view is told before its browser is there arrives afterwards, in order."""

from __future__ import annotations

import asyncio

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
