"""EMA crossover on real daily prices: long while the fast average is above the slow one.

Arguments: --symbol AAPL|GOOG|IBM|MSFT  --fast 9  --slow 21  --seconds-per-bar 1.0  --bars N
Leaves cleanly on SIGTERM and says what it was worth. Paper only: it places no order anywhere.
"""

from __future__ import annotations

import argparse

from paper_market import PaperAccount, leave_on_sigterm, replay


def main() -> None:
    """Replay, cross, trade on paper, until the data or the patience of the supervisor ends."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--symbol", default="AAPL")
    arguments.add_argument("--fast", type=int, default=9)
    arguments.add_argument("--slow", type=int, default=21)
    arguments.add_argument("--seconds-per-bar", type=float, default=1.0)
    arguments.add_argument("--bars", type=int)
    given = arguments.parse_args()

    leave_on_sigterm()
    account = PaperAccount()
    fast = slow = 0.0
    bar = None
    print(f"EMA {given.fast}/{given.slow} on {given.symbol}, paper, {account.cash:,.0f} USD")
    for count, bar in enumerate(replay(given.symbol, given.seconds_per_bar, given.bars)):
        was_above = fast > slow
        fast = bar.close if count == 0 else fast + (bar.close - fast) * 2 / (given.fast + 1)
        slow = bar.close if count == 0 else slow + (bar.close - slow) * 2 / (given.slow + 1)
        print(f"{bar.date} {bar.symbol} close {bar.close:.2f} fast {fast:.2f} slow {slow:.2f}")
        if count < given.slow:  # the averages still remember the first price too well
            continue
        if fast > slow and not was_above:
            print(f"{bar.date} SIGNAL BUY  fast crossed above slow")
            account.buy(bar)
        elif fast < slow and was_above:
            print(f"{bar.date} SIGNAL SELL fast crossed below slow")
            account.sell(bar)
    if bar is not None:
        print(
            f"leaving: equity {account.equity(bar):,.2f} USD, realised {account.realised:+,.2f}, {account.shares} held"
        )


if __name__ == "__main__":
    main()
