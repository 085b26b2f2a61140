"""What the views know of the world: rows of strategies, a supervisor, a link, and calls that answer or fail in words.

The live mirror and the API client stand behind these two protocols; tests put fakes there. No view goes around them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

Row = Mapping[str, Any]
Changed = Callable[[set[str], bool], None]


class Source(Protocol):
    """The state of one workspace, kept up to date by somebody else on the page's loop."""

    @property
    def rows(self) -> Mapping[str, Row]:
        """Status fields by id, as CONTRACTS names them."""

    @property
    def supervisor(self) -> Row:
        """The supervisor's own status fields."""

    @property
    def usage(self) -> Mapping[str, tuple[float | None, float | None]]:
        """The latest CPU (percent of a core) and memory (MiB) by id; only what runs."""

    @property
    def host(self) -> Row:
        """`cpu_percent`, `memory_mb`, `memory_total_mb` of the machine."""

    @property
    def link(self) -> str:
        """`live`, `stale` or `down`."""

    @property
    def age_s(self) -> float:
        """Seconds since the supervisor last spoke."""

    def subscribe(self, changed: Changed) -> Callable[[], None]:
        """Call `changed(ids, supervisor)` on the loop after each change; the answer unsubscribes."""


class StreamItem(NamedTuple):
    """One server-sent event."""

    event: str
    id: str
    data: Any


class Stream(Protocol):
    """An open stream of server-sent events, read in a worker thread, closed from any thread."""

    def __iter__(self) -> Iterator[Any]:
        """Yield events that have `event`, `id` and `data`."""

    def close(self) -> None:
        """End the iteration soon."""


class Calls(Protocol):
    """The supervisor's API. Every call blocks, so it is made in a worker thread; errors are StratpanelErrors."""

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The decoded JSON answer."""

    def stream(self, path: str, last_id: str = "") -> Stream:
        """Open a stream, resuming after `last_id`."""
