"""`stratpanel serve` over a fake workspace: the real door, server and pages; only the supervisor behind them is not
there.

`python -m tests.dashboard.fake_serve COUNT --workspace DIR --port 0 …`; the folder needs a stratpanel.toml.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import threading
from pathlib import Path

from tests.dashboard.fake import FakeWorkspace


async def chatter(fake: FakeWorkspace) -> None:
    """Eight strategies print five lines a second."""
    n = 0
    while True:
        await asyncio.sleep(0.2)
        n += 1
        for id_ in list(fake.rows)[:8]:
            fake.print(id_, f"ERROR order {n} rejected: margin" if n % 17 == 0 else f"\x1b[32mINFO\x1b[0m bar {n} done")


class Orders(threading.Thread):
    """Lines of JSON on standard input, `[method, arguments…]`, done on the loop; each answered by a line of JSON."""

    def __init__(self, fake: FakeWorkspace, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(daemon=True)
        self._fake, self._loop = fake, loop

    def run(self) -> None:
        for line in sys.stdin:
            self._loop.call_soon_threadsafe(self._do, json.loads(line))

    def _do(self, order: list[object]) -> None:
        name, args = str(order[0]), order[1:]
        fields = args.pop() if args and isinstance(args[-1], dict) else {}
        if name == "alive":  # objects of closed pages that are still there
            from stratpanel.dashboard.charts import UsageCharts
            from stratpanel.dashboard.logview import LogView
            from stratpanel.dashboard.screen import Screen
            from stratpanel.dashboard.strategy import StrategyPage

            gc.collect()
            kinds = (Screen, LogView, UsageCharts, StrategyPage)
            answer: object = {kind.__name__: sum(type(o) is kind for o in gc.get_objects()) for kind in kinds}
        elif name == "calls":
            answer = self._fake.calls_made
        elif name == "row":
            answer = self._fake.rows[str(args[0])]
        elif name == "reads":
            answer = self._fake.live_reads
        elif name == "set":
            for key, value in fields.items():
                setattr(self._fake, key, value)
            answer = None
        else:
            answer = getattr(self._fake, name)(*args, **fields)
        print("=> " + json.dumps(answer, default=str), flush=True)


def main() -> int:
    """Serve until a signal."""
    count, rest = int(sys.argv[1]), sys.argv[2:]
    from stratpanel.dashboard import office as offices
    from stratpanel.dashboard import serve
    from stratpanel.dashboard.screen import Office

    workspace = Path(serve.arguments(rest).workspace).resolve()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    fake = FakeWorkspace(count)
    fake.on_loop(loop)
    offices._OPEN[workspace] = Office(fake, fake)
    kept = [loop.create_task(fake.run())]
    if os.environ.get("FAKE_CHATTER"):
        kept.append(loop.create_task(chatter(fake)))
    Orders(fake, loop).start()
    try:
        return serve.main(rest)
    finally:
        for task in kept:
            task.cancel()


if __name__ == "__main__":
    sys.exit(main())
