"""Mean reversion on real daily prices: buy when the RSI says oversold, sell when it is back in the middle.

Arguments: --symbol AAPL|GOOG|IBM|MSFT  --period 14  --low 30  --high 55  --seconds-per-bar 1.0  --bars N
The RSI is Wilder's (smoothed averages of gains and losses). Paper only: it places no order anywhere.
"""

from __future__ import annotations

import argparse

from paper_market import PaperAccount, leave_on_sigterm, replay


class WilderRsi:
    """Relative strength index over closes; `value` is None until `period` changes have been seen."""

    def __init__(self, period: int) -> None:
        self.period = period
        self.value: float | None = None
        self._last: float | None = None
        self._seen = 0
        self._gain = self._loss = 0.0

    def add(self, close: float) -> None:
        """Take in one more close."""
        if self._last is not None:
            self._seen += 1
            weight = 1 / min(self._seen, self.period)
            change = close - self._last
            self._gain += (max(change, 0.0) - self._gain) * weight
            self._loss += (max(-change, 0.0) - self._loss) * weight
            if self._seen >= self.period:
                total = self._gain + self._loss
                self.value = 50.0 if total == 0 else 100 * self._gain / total
        self._last = close


def main() -> None:
    """Replay, measure, trade on paper."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--symbol", default="IBM")
    arguments.add_argument("--period", type=int, default=14)
    arguments.add_argument("--low", type=float, default=30.0)
    arguments.add_argument("--high", type=float, default=55.0)
    arguments.add_argument("--seconds-per-bar", type=float, default=1.0)
    arguments.add_argument("--bars", type=int)
    given = arguments.parse_args()

    leave_on_sigterm()
    account, rsi, bar = PaperAccount(), WilderRsi(given.period), None
    print(f"RSI({given.period}) {given.low:g}/{given.high:g} on {given.symbol}, paper, {account.cash:,.0f} USD")
    for bar in replay(given.symbol, given.seconds_per_bar, given.bars):
        rsi.add(bar.close)
        if rsi.value is None:
            continue
        print(f"{bar.date} {bar.symbol} close {bar.close:.2f} rsi {rsi.value:.1f}")
        if rsi.value < given.low and not account.shares:
            print(f"{bar.date} SIGNAL BUY  oversold")
            account.buy(bar)
        elif rsi.value > given.high and account.shares:
            print(f"{bar.date} SIGNAL SELL reverted")
            account.sell(bar)
    if bar is not None:
        print(f"leaving: equity {account.equity(bar):,.2f} USD, realised {account.realised:+,.2f}")


if __name__ == "__main__":
    main()
