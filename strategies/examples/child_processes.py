"""A strategy with helpers: a pool of workers that price options while the main process trades.

Shows that a stop reaches the whole tree: the workers end at once, and the main process is not left waiting for them (a
`multiprocessing.Pool` would be: it never hears that a worker died with a task). The prices come from the
Black-Scholes formula on replayed closes. Arguments: --workers 2  --symbol MSFT  --seconds-per-bar 1.0  --bars N
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial

from paper_market import leave_on_sigterm, leaving, replay

STRIKES = (0.90, 0.95, 1.00, 1.05, 1.10)  # as parts of the spot


def call_price(spot: float, strike: float, years: float, volatility: float, rate: float = 0.02) -> float:
    """Black-Scholes price of a European call, per share, in the currency of `spot`."""
    spread = volatility * math.sqrt(years)
    d1 = (math.log(spot / strike) + (rate + volatility**2 / 2) * years) / spread
    normal = [(1 + math.erf(x / math.sqrt(2))) / 2 for x in (d1, d1 - spread)]
    return spot * normal[0] - strike * math.exp(-rate * years) * normal[1]


def quarter_year_call(spot: float, strike: float) -> float:
    """A quarter-year call at 25 % volatility; the strike is a part of the spot."""
    return round(call_price(spot, spot * strike, 0.25, 0.25), 2)


def main() -> None:
    """Hand each close to the pool and print the ladder that comes back."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--symbol", default="MSFT")
    arguments.add_argument("--seconds-per-bar", type=float, default=1.0)
    arguments.add_argument("--bars", type=int)
    given = arguments.parse_args()

    leave_on_sigterm()
    with ProcessPoolExecutor(
        given.workers,
        multiprocessing.get_context("fork"),
        initializer=signal.signal,  # what we inherited would let a worker outlive a stop
        initargs=(signal.SIGTERM, signal.SIG_DFL),
    ) as pool:
        print(f"main process {os.getpid()} with {given.workers} workers")
        try:
            for bar in replay(given.symbol, given.seconds_per_bar, given.bars):
                ladder = list(pool.map(partial(quarter_year_call, bar.close), STRIKES))
                print(f"{bar.date} {bar.symbol} {bar.close:.2f} calls 90..110 %: {ladder}")
        except BrokenProcessPool:
            if not leaving():
                raise
    print("workers gone, leaving")


if __name__ == "__main__":
    main()
