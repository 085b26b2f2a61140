"""GET /metrics in the Prometheus text format: states, restarts, CPU, memory, log bytes, lateness, the supervisor's own.

Built from the same status fields as everything else; a value that is unknown is left out, never sent as 0.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from stratpanel import __version__
from stratpanel.supervisor.api.ports import Json
from stratpanel.supervisor.api.route import Route

STATES: Final = ("stopped", "starting", "running", "stopping", "backoff", "exited", "fatal", "lost")
MIB: Final = 1024 * 1024

Sample = tuple[dict[str, str], Any]


class Metrics(Route):
    """GET /metrics"""

    async def get(self) -> None:
        """All families; a scrape of 1,000 strategies is one pass over their status fields."""
        statuses = self.core.statuses()
        supervisor = self.core.supervisor_status()
        families = [*_of_strategies(statuses), *self._own(supervisor)]
        self.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.finish("".join(families).encode("utf-8", "replace"))

    def _own(self, supervisor: Json) -> Iterable[str]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        yield family("stratpanel_info", "gauge", "Version of the supervisor.", [({"version": __version__}, 1)])
        state = supervisor.get("state")
        states = [({"state": name}, int(state == name)) for name in ("running", "paused", "degraded")]
        yield family("stratpanel_supervisor_state", "gauge", "1 for the supervisor's state.", states)
        yield family(
            "stratpanel_supervisor_cpu_seconds_total",
            "counter",
            "CPU time of the supervisor.",
            [({}, round(usage.ru_utime + usage.ru_stime, 3))],
        )
        yield family(
            "stratpanel_supervisor_resident_bytes", "gauge", "Resident memory of the supervisor.", [({}, _resident())]
        )
        started = self.site.endpoint.started.timestamp()
        uptime: list[Sample] = [({}, round(time.time() - started, 1))]
        yield family("stratpanel_supervisor_uptime_seconds", "gauge", "Seconds since the API began to answer.", uptime)
        late = supervisor.get("decision_lateness_s")
        yield family(
            "stratpanel_decision_lateness_seconds", "gauge", "How late the last due decision was made.", [({}, late)]
        )
        site = self.site
        streams = [({"kind": "mirror"}, site.mirror.readers), ({"kind": "events"}, site.events.readers)]
        streams.append(({"kind": "logs"}, site.logs.readers))
        yield family("stratpanel_api_streams", "gauge", "Open streams.", streams)
        answers = [({"status": str(status)}, count) for status, count in sorted(site.requests.items())]
        yield family("stratpanel_api_answers_total", "counter", "Answers given, by HTTP status.", answers)


def _of_strategies(statuses: list[Json]) -> Iterable[str]:
    def each(field: str, scale: float = 1) -> list[Sample]:
        return [({"id": row["id"]}, None if row.get(field) is None else row[field] * scale) for row in statuses]

    count = dict.fromkeys(STATES, 0)
    for row in statuses:
        count[row["state"]] = count.get(row["state"], 0) + 1
    yield family(
        "stratpanel_strategies", "gauge", "Strategies by state.", [({"state": s}, n) for s, n in count.items()]
    )
    current = [({"id": row["id"], "state": row["state"], "mode": row.get("mode") or ""}, 1) for row in statuses]
    yield family("stratpanel_strategy_state", "gauge", "1 for the state a strategy is in.", current)
    yield family(
        "stratpanel_strategy_restarts", "gauge", "Automatic restarts since it was last started.", each("restarts")
    )
    cpu = each("cpu_percent")
    yield family("stratpanel_strategy_cpu_percent", "gauge", "CPU of the process tree, percent of one core.", cpu)
    memory = each("memory_mb", MIB)
    yield family("stratpanel_strategy_memory_bytes", "gauge", "Memory of the process tree.", memory)
    yield family("stratpanel_strategy_uptime_seconds", "gauge", "Seconds since the leader started.", each("uptime_s"))
    sizes: list[Sample] = [({"id": row["id"]}, _size(row.get("log_path"))) for row in statuses]
    yield family("stratpanel_strategy_log_bytes", "gauge", "Size of the current log file.", sizes)


def family(name: str, kind: str, help: str, samples: Iterable[Sample]) -> str:
    """One metric family; samples of unknown value are left out."""
    lines = [f"# HELP {name} {help}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        if value is None:
            continue
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{inside}}} {value:.10g}" if inside else f"{name} {value:.10g}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _size(path: str | None) -> int | None:
    try:
        return os.stat(path).st_size if path else None
    except OSError:  # nothing printed yet
        return None


def _resident() -> int | None:
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):  # not Linux
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
