"""The thread on which a kernel's views live, with an event loop of its own.

Not the kernel's main thread, for two reasons. A cell that computes for an hour would freeze every view beside it, and a
click on Stop would wait for its end. And newer kernels hand a browser's messages to threads of their own (subshells),
beside whatever the main thread is doing, while Panel and Bokeh know no locks: half-made models reached the browser.
Whatever touches a view is done here, one thing after another.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None


def call(work: Callable[[], T]) -> T:
    """Do `work` on the views' thread, in the caller's context (a kernel's output knows its cell by it); its result, or
    its exception."""
    loop = _running()
    if threading.current_thread() is _thread:
        return work()

    async def do() -> T:
        return work()

    return asyncio.run_coroutine_threadsafe(do(), loop).result()


def post(work: Callable[..., Any], *arguments: Any) -> None:
    """Do `work` on the views' thread soon; asyncio logs what it raises."""
    _running().call_soon_threadsafe(work, *arguments)


def _running() -> asyncio.AbstractEventLoop:
    global _loop, _thread
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            _thread = threading.Thread(target=_loop.run_forever, name="stratpanel-views", daemon=True)
            _thread.start()
        return _loop
