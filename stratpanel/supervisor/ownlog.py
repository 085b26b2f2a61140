"""The supervisor's own log: lines on standard error, which is log/supervisor.log, with every known secret masked.

Set up once, by `python -m stratpanel.supervisor`, before anything can fail. Whatever Python itself would print of an
exception that nobody caught goes the same way, since a traceback quotes values too.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

FORMAT = "%(asctime)s %(name)s %(levelname)s %(message)s"

log = logging.getLogger("stratpanel")


class MaskedFormatter(logging.Formatter):
    """Formats a record whole, traceback and all, and then hides what must not be read."""

    def __init__(self, mask: Callable[[str], str]) -> None:
        super().__init__(FORMAT)
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        return self._mask(super().format(record))


def start_log(mask: Callable[[str], str]) -> None:
    """Send every record, and every exception that nobody caught, to standard error through `mask`."""
    # nothing of a record but its message is shown: what else it would look up is half of its cost
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # as the HOWTO says; no caller is looked for
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(MaskedFormatter(mask))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable


def _uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    log.critical("the supervisor fails", exc_info=(kind, error, traceback))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    name = args.thread.name if args.thread is not None else "a thread"
    if args.exc_value is not None:
        log.error("%s fails", name, exc_info=(args.exc_type, args.exc_value, args.exc_traceback))


def _unraisable(args: UnraisableHookArgs) -> None:
    if args.exc_value is not None:
        log.error("ignored in %r", args.object, exc_info=(args.exc_type, args.exc_value, args.exc_traceback))
