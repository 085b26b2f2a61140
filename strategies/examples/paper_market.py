"""Real daily prices replayed bar by bar, and a paper account to trade them with.

Used by the example strategies beside it; deploying one of them takes this module along. Prices are those of
bokeh-sampledata (AAPL, GOOG, IBM, MSFT; daily, split-adjusted closes, 2000 to 2013). Standard library otherwise.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType

SYMBOLS = ("AAPL", "GOOG", "IBM", "MSFT")
_stopping = threading.Event()


def leave_on_sigterm() -> None:
    """Let SIGTERM (and Ctrl-C) end the replay after the current bar instead of in the middle of it."""

    def ask_to_leave(_signum: int, _frame: FrameType | None) -> None:
        _stopping.set()

    signal.signal(signal.SIGTERM, ask_to_leave)
    signal.signal(signal.SIGINT, ask_to_leave)


def leaving() -> bool:
    """True once we were asked to leave."""
    return _stopping.is_set()


@dataclass(frozen=True)
class Bar:
    """One trading day of one symbol; prices in US dollars."""

    symbol: str
    date: str
    close: float


def replay(symbol: str, seconds_per_bar: float, bars: int | None = None) -> Iterator[Bar]:
    """Yield the symbol's bars oldest first, one each `seconds_per_bar`, over and over until told to leave.

    `bars` limits how many are given in all. Raises SystemExit with the remedy for an unknown symbol or missing prices.
    """
    closes = _closes(symbol)
    given = 0
    while True:
        for date, close in closes:
            if _stopping.is_set() or (bars is not None and given >= bars):
                return
            given += 1
            yield Bar(symbol, date, close)
            _stopping.wait(seconds_per_bar)


def _closes(symbol: str) -> list[tuple[str, float]]:
    if symbol not in SYMBOLS:
        sys.exit(f"no prices for {symbol!r}: choose one of {', '.join(SYMBOLS)}")
    try:
        from bokeh_sampledata import stocks
    except ImportError:
        sys.exit("the example prices are missing in this interpreter: pip install bokeh-sampledata")
    table = getattr(stocks, symbol)
    return list(zip(table["date"], table["adj_close"], strict=True))


@dataclass
class PaperAccount:
    """Cash and one position; fills at the bar's close, no fees. Every fill is printed."""

    cash: float = 100_000.0
    shares: int = 0
    cost: float = 0.0
    realised: float = field(default=0.0, init=False)

    def buy(self, bar: Bar, fraction: float = 0.95) -> None:
        """Put a fraction of the cash into the symbol, unless already in it."""
        shares = int(self.cash * fraction / bar.close)
        if self.shares or shares <= 0:
            return
        self.shares, self.cost = shares, bar.close
        self.cash -= shares * bar.close
        print(f"{bar.date} FILL BUY  {shares} {bar.symbol} @ {bar.close:.2f}")

    def sell(self, bar: Bar) -> None:
        """Close the position, if there is one."""
        if not self.shares:
            return
        profit = self.shares * (bar.close - self.cost)
        self.realised += profit
        self.cash += self.shares * bar.close
        print(f"{bar.date} FILL SELL {self.shares} {bar.symbol} @ {bar.close:.2f}  pnl {profit:+.2f}")
        self.shares = 0

    def equity(self, bar: Bar) -> float:
        """Cash plus the position at the bar's close, in US dollars."""
        return self.cash + self.shares * bar.close
