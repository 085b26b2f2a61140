"""`stratpanel serve` over a fake workspace: the real door, server and pages; only the supervisor behind them is not there.

`python -m tests.dashboard.fake_serve COUNT --workspace DIR --port 0 …`; the folder needs a stratpanel.toml.
"""

from __future__ import annotations

import asyncio
import sys
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
    kept = [loop.create_task(fake.run()), loop.create_task(chatter(fake))]
    try:
        return serve.main(rest)
    finally:
        for task in kept:
            task.cancel()


if __name__ == "__main__":
    sys.exit(main())
