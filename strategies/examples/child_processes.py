"""A strategy with helpers: a pool of workers that price options while the main process trades.

Shows that a stop reaches the whole tree: workers here never look at SIGTERM by themselves. The prices come from the
Black-Scholes formula on replayed closes. Arguments: --workers 2  --symbol MSFT  --seconds-per-bar 1.0  --bars N
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os

from paper_market import leave_on_sigterm, replay


def call_price(spot: float, strike: float, years: float, volatility: float, rate: float = 0.02) -> float:
    """Black-Scholes price of a European call, per share, in the currency of `spot`."""
    spread = volatility * math.sqrt(years)
    d1 = (math.log(spot / strike) + (rate + volatility**2 / 2) * years) / spread
    normal = [(1 + math.erf(x / math.sqrt(2))) / 2 for x in (d1, d1 - spread)]
    return spot * normal[0] - strike * math.exp(-rate * years) * normal[1]


def price_ladder(spot: float) -> list[float]:
    """Quarter-year calls with strikes from 90 to 110 % of the spot, at 25 % volatility."""
    return [round(call_price(spot, spot * percent / 100, 0.25, 0.25), 2) for percent in range(90, 111, 5)]


def main() -> None:
    """Hand each close to the pool and print the ladder that comes back."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--symbol", default="MSFT")
    arguments.add_argument("--seconds-per-bar", type=float, default=1.0)
    arguments.add_argument("--bars", type=int)
    given = arguments.parse_args()

    with multiprocessing.get_context("fork").Pool(given.workers) as pool:
        leave_on_sigterm()  # after the fork: the workers keep the default and are ended with the tree
        print(f"main process {os.getpid()} with {given.workers} workers")
        for bar in replay(given.symbol, given.seconds_per_bar, given.bars):
            print(f"{bar.date} {bar.symbol} {bar.close:.2f} calls 90..110 %: {pool.apply(price_ladder, (bar.close,))}")
        pool.terminate()
    print("workers gone, leaving")


if __name__ == "__main__":
    main()
