"""What a strategy may import: leave cleanly, report metrics and signals, read parameters. Standard library only.

Every function is harmless without a supervisor, so that a script runs the same way by hand. Reports are appended to a
file that the supervisor reads (`STRATPANEL_LIVE_FILE`); a strategy never waits for anything of ours.
"""

from __future__ import annotations

import atexit
import json
import os
import signal as _signals
import sys
import threading
import time

TYPE_CHECKING = False  # importing typing would double what this module costs a strategy's start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    P = TypeVar("P")

__all__ = [
    "heartbeat",
    "metric",
    "mode",
    "note",
    "on_stop",
    "params",
    "running",
    "signal",
    "sleep",
    "stop_reason",
]

MAX_FILE_BYTES = 64 * 1024 * 1024  # a report a second for a week; past it reports are dropped, never the strategy
MAX_LINE_BYTES = 8 * 1024

_stopping = threading.Event()
_armed = False
_callbacks: list[Callable[[str], object]] = []
_file_lock = threading.Lock()
_file: int | None = None
_last_beat: tuple[float, float | None] | None = None  # when (monotonic), and the promise it made


def running() -> bool:
    """True until SIGTERM or Ctrl-C arrives: `while running(): ...`. Call it first from the main thread."""
    _arm()
    return not _stopping.is_set()


def sleep(seconds: float) -> bool:
    """Wait, but wake at once when the strategy is told to stop; the value is `running()`."""
    _arm()
    _stopping.wait(max(0.0, seconds))
    return not _stopping.is_set()


def on_stop(callback: Callable[[str], object]) -> Callable[[str], object]:
    """Call `callback(reason)` once when the strategy is told to stop; usable as a decorator.

    Reasons: stop, restart, window (its schedule ended), memory, quiet, watchdog, panic, kill, down, or unknown when run
    by hand. It runs in the main thread before the grace is over: cancel orders here, quickly.
    """
    _arm()
    _callbacks.append(callback)
    return callback


def stop_reason() -> str | None:
    """Why the strategy was told to stop; None while it was not."""
    if not _stopping.is_set():
        return None
    path = os.environ.get("STRATPANEL_STOP_REASON")
    if not path:
        return "unknown"
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(200).strip() or "unknown"
    except OSError:  # stopped by somebody else's SIGTERM: nobody wrote a reason
        return "unknown"


def mode() -> str:
    """`paper` or `live`; paper when run by hand."""
    return os.environ.get("SP_MODE") or "paper"


def metric(**values: float) -> None:
    """Report numbers, for example `metric(pnl=120.5, position=3)`: charted on the strategy's page, kept per run.

    Raises TypeError for a value that is no number, so that a mistake shows in the first test by hand.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            try:
                values[name] = float(value)  # numpy and Decimal scalars
            except (TypeError, ValueError):
                raise TypeError(f"metric {name}={value!r} is not a number") from None
    _report({"kind": "metric", "values": values})


def signal(side: str, **fields: Any) -> None:
    """Report a trading signal, for example `signal("BUY", symbol="SBIN", price=812.5)`: a marker on the charts."""
    _report({"kind": "signal", "side": str(side), "fields": fields})


def note(text: str) -> None:
    """Report a remark for the people who watch; shown as text on the strategy's page."""
    _report({"kind": "note", "text": str(text)})


def heartbeat(within: float | None = None) -> None:
    """Say "I am alive". With the strategy's setting `watchdog_s` silence becomes an alert, and a restart if wanted.

    `within` seconds is when the next one is due, instead of `watchdog_s`: say 600 before a long download.
    """
    global _last_beat
    now = time.monotonic()
    if _last_beat is not None and now < _last_beat[0] + 1.0 and _last_beat[1] == within:
        return  # at most one a second reaches the file, but each change of the promise
    _last_beat = (now, within)
    _report({"kind": "heartbeat", "within": within})


def params(of: type[P] | None = None) -> Any:
    """The parameters of this run: a dict, or an instance of the given class (Param, dataclass) with them set.

    Values come from the JSON file named by `SP_PARAMS_FILE`; without one the class's own defaults hold. Names that the
    class does not have are refused with a sentence, as is a value that the class refuses.
    """
    values = _given_values()
    if of is None:
        return values
    known = _names_of(of)
    unknown = sorted(set(values) - known)
    if unknown:
        sys.exit(f"parameters {', '.join(unknown)} are unknown to {of.__name__}; it has {', '.join(sorted(known))}")
    try:
        return of(**values)
    except (TypeError, ValueError) as error:
        sys.exit(f"the parameters {values} do not fit {of.__name__}: {error}")


def _given_values() -> dict[str, Any]:
    path = os.environ.get("SP_PARAMS_FILE")
    if not path:
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
    except (OSError, ValueError) as error:
        sys.exit(f"cannot read the parameters of this run from {path}: {error}")
    if not isinstance(values, dict):
        sys.exit(f"cannot read the parameters of this run: {path} is not a JSON object")
    return dict(values)


def _names_of(cls: type) -> set[str]:
    declared = getattr(cls, "param", None)
    if declared is not None:  # a Param class; its automatic name is no parameter of the strategy
        return {name for name in declared if name != "name"}
    names: set[str] = set()
    for base in cls.__mro__:
        names |= {name for name in getattr(base, "__annotations__", {}) if not name.startswith("_")}
    return names


def _arm() -> None:
    """Take SIGTERM and Ctrl-C, once; a handler that the script installed itself is called as well."""
    global _armed
    if _armed or threading.current_thread() is not threading.main_thread():
        return
    _armed = True
    for number in (_signals.SIGTERM, _signals.SIGINT):
        before = _signals.getsignal(number)
        _signals.signal(number, _leave_after(before))


def _leave_after(before: Any) -> Callable[[int, Any], None]:
    def leave(number: int, frame: Any) -> None:
        first = not _stopping.is_set()
        _stopping.set()
        if first:
            _tell_callbacks()
        if callable(before) and before is not _signals.default_int_handler:
            before(number, frame)

    return leave


def _tell_callbacks() -> None:
    reason = stop_reason() or "unknown"
    for callback in _callbacks:
        try:
            callback(reason)
        except Exception as error:  # noqa: BLE001  their code may raise anything; the others must be told
            print(f"on_stop {getattr(callback, '__name__', callback)!r} failed: {error!r}", file=sys.stderr)


def _report(entry: dict[str, Any]) -> None:
    global _file
    path = os.environ.get("STRATPANEL_LIVE_FILE")
    if not path:
        return
    entry["t"] = time.time()
    line = (json.dumps(entry, default=str, ensure_ascii=False, allow_nan=True) + "\n").encode("utf-8", "replace")
    if len(line) > MAX_LINE_BYTES:
        print(f"stratpanel.live: a report of {len(line)} bytes was dropped, the limit is {MAX_LINE_BYTES}")
        return
    with _file_lock:
        try:
            if _file is None:
                _file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
                atexit.register(_close)
            if os.fstat(_file).st_size < MAX_FILE_BYTES:
                os.write(_file, line)
        except OSError:  # full disk, folder gone: reports are lost, the strategy goes on trading
            return


def _close() -> None:
    global _file
    with _file_lock:
        if _file is not None:
            os.close(_file)
            _file = None
