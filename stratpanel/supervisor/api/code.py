"""A strategy's code and past: source, versions, differences, deploying, runs, usage, what its schedule says.

Every route here reads or changes one strategy; the files themselves belong to the core.
"""

from __future__ import annotations

from typing import ClassVar, Final

from stratpanel.model.errors import InvalidValue, Malformed, NotFound
from stratpanel.supervisor.api import wire
from stratpanel.supervisor.api.ports import ActionResult, Json
from stratpanel.supervisor.api.strategies import StrategyRoute, number_field, text_field

MAX_RUNS: Final = 10_000
MAX_REPORTS: Final = 20_000
MAX_REPORT_BYTES: Final = 2**40
WORKING: Final = "working"


class Source(StrategyRoute):
    """GET, PUT /api/strategies/{id}/source"""

    async def get(self, id: str) -> None:
        """The working copy's main file as text/x-python."""
        text = await self.core.source(id)
        self.set_header("Content-Type", "text/x-python; charset=utf-8")
        self.finish(text.encode("utf-8", "surrogateescape"))

    async def put(self, id: str) -> None:
        """Replace the working copy's main file; what runs goes on with the version it was started with."""
        kind = self.request.headers.get("Content-Type", "text/x-python").partition(";")[0].strip().lower()
        if kind not in ("text/x-python", "text/plain", "application/octet-stream"):
            raise Malformed(f"the source must be sent as text/x-python, not {kind[:80]}")
        try:
            text = self.body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidValue(
                f"the source is not UTF-8: byte {error.start} is 0x{self.body[error.start]:02x}",
                fields={"source": "must be UTF-8"},
            ) from None
        if "\0" in text:
            raise wire.invalid("source", "contains a NUL character")
        await self.done(await self.core.put_source(id, text, by=self.by))


class Versions(StrategyRoute):
    """GET /api/strategies/{id}/versions"""

    async def get(self, id: str) -> None:
        """Deployed versions, who made them and when."""
        self.answer({"versions": await self.core.versions(id)})


class OneVersion(StrategyRoute):
    """GET /api/strategies/{id}/versions/{n}"""

    async def get(self, id: str, n: str) -> None:
        """One version with its source."""
        if not n.isascii() or not n.isdigit() or len(n) > 9:
            raise NotFound(f"{id} has no version {n[:40]!r}", code="VERSION_NOT_FOUND")
        self.answer(await self.core.version(id, int(n)))


class Diff(StrategyRoute):
    """GET /api/strategies/{id}/diff?from=&to="""

    async def get(self, id: str) -> None:
        """What changed from one version to another; without `from` the deployed one, without `to` the working copy."""
        self.answer(await self.core.diff(id, self._side("from"), self._side("to") or WORKING))

    def _side(self, name: str) -> int | str | None:
        text = self.query(name)
        if not text:
            return None
        if text == WORKING:
            return WORKING
        if not text.isascii() or not text.isdigit() or len(text) > 9:
            raise wire.invalid(name, 'must be a version number or "working"')
        return int(text)


class Release(StrategyRoute):
    """POST /api/strategies/{id}/deploy|rollback|promote"""

    roles: ClassVar = {}

    async def post(self, id: str, action: str) -> None:
        """Change which version runs next, or in which mode."""
        result = await self._call(id, action, self.json_body())
        answer: Json = {"changed": result.changed, "strategy": result.strategy}
        warnings = getattr(result, "warnings", None)
        if warnings:
            answer["warnings"] = list(warnings)
        await self.done(answer)

    async def _call(self, id: str, action: str, body: Json) -> ActionResult:
        if action == "deploy":
            return await self.core.deploy(id, by=self.by)
        if action == "rollback":
            n = number_field(body, "n")
            if n is None:
                raise wire.invalid("n", 'say which version to go back to, like {"n": 2}')
            return await self.core.rollback(id, n, by=self.by)
        version = number_field(body, "version")
        mode = text_field(body, "mode") or "live"
        if mode not in ("live", "paper"):
            raise wire.invalid("mode", "must be live or paper")
        return await self.core.promote(id, by=self.by, mode=mode, version=version)


class Runs(StrategyRoute):
    """GET /api/strategies/{id}/runs?limit="""

    async def get(self, id: str) -> None:
        """Past runs, newest first."""
        limit = wire.whole_number("limit", self.query("limit"), 100, 1, MAX_RUNS)
        self.answer({"runs": await self.core.runs(id, limit)})


class Live(StrategyRoute):
    """GET /api/strategies/{id}/live?run=&since=&after=&limit="""

    async def get(self, id: str) -> None:
        """What a run reported through stratpanel.live: metrics, signals, notes; the newest run unless one is named."""
        since = wire.instant("since", self.query("since"))
        limit = wire.whole_number("limit", self.query("limit"), 5000, 1, MAX_REPORTS)
        after = wire.whole_number("after", self.query("after"), 0, 0, MAX_REPORT_BYTES)
        run = self.query("run") or None
        self.answer(await self.core.live(id, run, since.timestamp() if since else None, limit, after))


class Parameters(StrategyRoute):
    """GET /api/strategies/{id}/parameters"""

    async def get(self, id: str) -> None:
        """The script's own Param class, read in a child process."""
        self.answer(await self.core.parameters(id))


class Usage(StrategyRoute):
    """GET /api/strategies/{id}/usage?since=&step="""

    async def get(self, id: str) -> None:
        """CPU, memory, threads and open files over time; null is a gap."""
        since = wire.instant("since", self.query("since"))
        step = wire.whole_number("step", self.query("step"), 0, 1, 31 * 86400)
        self.answer(await self.core.usage(id, since.timestamp() if since else None, float(step) if step else None))


class Explain(StrategyRoute):
    """GET /api/strategies/{id}/schedule/explain?at="""

    async def get(self, id: str) -> None:
        """Whether it should run now (or at a moment), why, until when, and the next starts and stops."""
        self.answer(self.core.explain(id, wire.instant("at", self.query("at"))))
