"""An EMA strategy in the manner of the OpenAlgo SDK: it trades through a broker gateway when one is configured.

Set OPENALGO_APIKEY (secrets.toml) and OPENALGO_HOST ([env] of stratpanel.toml) and `pip install openalgo`; without
them it says so and goes on with replayed prices on paper, so that the script can be tried as it is.
Arguments: --symbol SBIN  --exchange NSE  --fast 5  --slow 10  --seconds 15  --bars N
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from typing import Any

from paper_market import PaperAccount, leave_on_sigterm, replay


def connect() -> Any | None:
    """The SDK's client, or None with a line in the log that says what is missing."""
    key, host = os.environ.get("OPENALGO_APIKEY"), os.environ.get("OPENALGO_HOST", "http://127.0.0.1:5000")
    if not key:
        print("no OPENALGO_APIKEY in the environment: replaying prices on paper")
        return None
    try:
        from openalgo import api
    except ImportError:
        print("the openalgo package is missing in this interpreter (pip install openalgo): replaying prices on paper")
        return None
    print(f"trading through {host} in mode {os.environ.get('SP_MODE', 'paper')}")
    return api(api_key=key, host=host)


def crossings(closes: Iterator[float], fast_span: int, slow_span: int) -> Iterator[tuple[float, str | None]]:
    """Each close with "BUY", "SELL" or None, by exponential averages of the two spans."""
    fast = slow = next(closes, 0.0)
    for close in closes:
        was_above = fast > slow
        fast += (close - fast) * 2 / (fast_span + 1)
        slow += (close - slow) * 2 / (slow_span + 1)
        yield close, None if (fast > slow) == was_above else ("BUY" if fast > slow else "SELL")


def trade_live(client: Any, given: argparse.Namespace, act: Callable[[str], None]) -> None:
    """Poll quotes and place market orders through the gateway; paper mode only prints them."""
    import time

    def quotes() -> Iterator[float]:
        while True:
            yield float(client.quotes(symbol=given.symbol, exchange=given.exchange)["data"]["ltp"])
            time.sleep(given.seconds)

    for close, signal in crossings(quotes(), given.fast, given.slow):
        print(f"{given.symbol} {close:.2f} {signal or ''}".rstrip())
        if signal:
            act(signal)


def main() -> None:
    """Trade through the gateway, or replay."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--symbol", default="SBIN")
    arguments.add_argument("--exchange", default="NSE")
    arguments.add_argument("--fast", type=int, default=5)
    arguments.add_argument("--slow", type=int, default=10)
    arguments.add_argument("--quantity", type=int, default=1)
    arguments.add_argument("--seconds", type=float, default=15.0)
    arguments.add_argument("--bars", type=int)
    given = arguments.parse_args()

    client = connect()
    if client is not None:

        def act(signal: str) -> None:
            if os.environ.get("SP_MODE") != "live":
                print(f"ORDER {signal} {given.quantity} {given.symbol} (paper, not sent)")
                return
            answer = client.placeorder(
                strategy=os.environ.get("STRATEGY_NAME", "ema"),
                symbol=given.symbol,
                exchange=given.exchange,
                action=signal,
                price_type="MARKET",
                product="MIS",
                quantity=given.quantity,
            )
            print(f"ORDER {signal} {given.quantity} {given.symbol}: {answer}")

        trade_live(client, given, act)
        return

    leave_on_sigterm()
    account, seen = PaperAccount(), []

    def closes() -> Iterator[float]:
        for bar in replay("MSFT", min(given.seconds, 1.0), given.bars):
            seen.append(bar)
            yield bar.close

    for close, signal in crossings(closes(), given.fast, given.slow):
        print(f"{seen[-1].date} MSFT {close:.2f} {signal or ''}".rstrip())
        if signal == "BUY":
            account.buy(seen[-1])
        elif signal == "SELL":
            account.sell(seen[-1])


if __name__ == "__main__":
    main()
