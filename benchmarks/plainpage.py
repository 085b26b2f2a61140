"""A plain Panel page to be measured beside ours: a Tabulator of as many rows, patched once a second by a callback.

`python benchmarks/plainpage.py ROWS` serves it on a free port and prints the address. It is written as most would
write it first, with Panel's own parts and nothing else; there is no log in it.
"""

from __future__ import annotations

import random
import sys

import numpy as np
import pandas as pd
import panel as pn

COLUMNS = ["state", "name", "why", "mode", "pid", "uptime", "cpu", "memory", "restarts", "next"]


def page(rows: int) -> pn.template.FastListTemplate:
    """The page of one session."""
    table = pn.widgets.Tabulator(
        pd.DataFrame(
            {
                "state": ["running"] * rows,
                "name": [f"s{n:04}" for n in range(rows)],
                "why": ["started by a person"] * rows,
                "mode": ["paper"] * rows,
                "pid": np.arange(rows) + 1000,
                "uptime": np.zeros(rows),
                "cpu": np.zeros(rows),
                "memory": np.zeros(rows),
                "restarts": np.zeros(rows, dtype=int),
                "next": ["stop in 3 h"] * rows,
            }
        ),
        show_index=False,
        height=700,
        sizing_mode="stretch_width",
    )

    def tick() -> None:
        now = [round(random.random() * 100, 1) for _ in range(rows)]
        table.patch({name: list(enumerate(now)) for name in ("uptime", "cpu", "memory")})

    pn.state.add_periodic_callback(tick, period=1000)
    return pn.template.FastListTemplate(title="plain", main=[table])


def main() -> None:
    """Serve until a signal."""
    rows = int(sys.argv[1])
    pn.extension("tabulator")
    server = pn.serve(lambda: page(rows), port=0, show=False, start=False, verbose=False, threaded=False)
    print(f"http://localhost:{server.port}", flush=True)
    server.start()
    server.io_loop.start()


if __name__ == "__main__":
    main()
