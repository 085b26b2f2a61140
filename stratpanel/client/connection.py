"""Talks to a workspace's supervisor: finds the workspace, reads connection.json, calls the API, starts a supervisor.

Used by the command line (imports in milliseconds: standard library only), by handles and by the mirror. Never decides
anything: a refusal of the supervisor is raised as the same error the supervisor raised.
"""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from stratpanel import PROTOCOL, __version__
from stratpanel.client.eventstream import EventStream, ServerEvent
from stratpanel.model import errors
from stratpanel.model.errors import Conflict, NotFound, StratpanelError

__all__ = [
    "Answer",
    "Api",
    "EventStream",
    "Interrupted",
    "NoSupervisor",
    "ServerEvent",
    "error_of",
    "find_workspace",
    "read_connection",
    "runtime_of",
    "strategy_path",
]

if TYPE_CHECKING:
    from stratpanel.process.paths import Runtime

TIMEOUT_S = 30.0
ACTION_TIMEOUT_S = 900.0  # a stop lasts as long as its grace
STREAM_TIMEOUT_S = 40.0  # streams send a comment every 15 s
START_S = 20.0
TOKENS_TRIED = 3  # new ones that a call meets; each is read from the file that the supervisor wrote


class NoSupervisor(StratpanelError):
    """No supervisor answers for this workspace, and none could be started."""

    status = 503
    default_code = "NO_SUPERVISOR"


class Interrupted(StratpanelError):
    """The supervisor went away in the middle of a call; whether it was done is unknown."""

    status = 503
    default_code = "CONNECTION_LOST"


class Answer(NamedTuple):
    """One answer: HTTP status, headers (lower case names) and the decoded body."""

    status: int
    headers: dict[str, str]
    data: Any


def find_workspace(given: str | os.PathLike[str] | None = None, start: str | os.PathLike[str] | None = None) -> Path:
    """The workspace meant: `given`, else $STRATPANEL_WORKSPACE, else the nearest folder up from `start` that is one.

    Raises NotFound naming the three ways to say it.
    """
    named = given or os.environ.get("STRATPANEL_WORKSPACE")
    if named:
        folder = Path(named).expanduser().absolute()
        if _is_workspace(folder) or (folder / "strategies" / "strategy_configs.json").is_file():
            return folder.resolve()
        what = "has no stratpanel.toml" if folder.is_dir() else "does not exist"
        raise NotFound(
            f"{folder} is no workspace: it {what}; `stratpanel init {folder}` makes one", code="NO_WORKSPACE"
        )
    first = Path(start or ".").expanduser().resolve()
    for folder in (first, *first.parents):
        if _is_workspace(folder):
            return folder
    raise NotFound(
        f"no workspace found: neither {first} nor a folder above it has a stratpanel.toml; say -w DIR, set"
        " STRATPANEL_WORKSPACE, or make one with `stratpanel init DIR`",
        code="NO_WORKSPACE",
    )


def _is_workspace(folder: Path) -> bool:
    return (folder / "stratpanel.toml").is_file()


def strategy_path(id: str, *rest: str) -> str:
    """`/api/strategies/<id>/…` with the id quoted."""
    return "/".join(["/api/strategies", quote(id, safe=""), *rest])


def runtime_of(workspace: Path) -> Runtime:
    """The workspace's runtime paths, wherever its settings put them."""
    from stratpanel.process.paths import Runtime

    return Runtime.of(workspace)


def read_connection(workspace: Path) -> dict[str, Any] | None:
    """The connection file's content, None if there is none (or it is being written for the first time)."""
    path = runtime_of(workspace).connection
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except PermissionError:
        raise NoSupervisor(f"cannot read {path}: it belongs to another user, who runs this workspace") from None
    except ValueError as error:
        raise NoSupervisor(f"cannot read {path}: {error}; `stratpanel up` writes it again") from None
    return record if isinstance(record, dict) else None


def deployed_version(api: Api, path: str) -> int | None:
    """The version that runs at the next start; while a strategy runs, its status names the one that runs now."""
    rows = api.get(f"{path}/versions")["versions"]
    return next((int(row["n"]) for row in rows if row.get("current")), None)


class Api:
    """Calls of one workspace's API. Thread-safe: every call has its own connection (0.3 ms on loopback)."""

    def __init__(self, workspace: str | os.PathLike[str], *, by: str = "python", role: str | None = None) -> None:
        self.workspace = Path(workspace)
        self.by = by
        self.role = role
        self._connection: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"Api({str(self.workspace)!r}, by={self.by!r})"

    # -- calls ------------------------------------------------------------------------------------------------------

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """GET; the decoded answer."""
        return self.exchange("GET", path, query=query).data

    def post(self, path: str, body: Any = None, query: Mapping[str, Any] | None = None) -> Any:
        """POST; the decoded answer."""
        return self.exchange("POST", path, query=query, body=body).data

    def put(self, path: str, body: Any = None, query: Mapping[str, Any] | None = None) -> Any:
        """PUT; text is sent as text/x-python, anything else as JSON."""
        return self.exchange("PUT", path, query=query, body=body).data

    def patch(
        self, path: str, body: Any, query: Mapping[str, Any] | None = None, *, if_match: str | None = None
    ) -> Any:
        """PATCH (RFC 7396), with the ETag that must still hold."""
        headers = {"If-Match": f'"{if_match}"'} if if_match else None
        return self.exchange("PATCH", path, query=query, body=body, headers=headers).data

    def delete(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """DELETE; the decoded answer."""
        return self.exchange("DELETE", path, query=query).data

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Any method; the decoded answer."""
        return self.exchange(method, path, query=query, body=body, headers=headers).data

    def exchange(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """One call; raises the supervisor's error, NoSupervisor, or Interrupted when it was cut off half-way.

        A refused connection (supervisor restarting) waits for it to come back, a 401 reads the connection file again;
        both are safe to repeat since nothing was done.
        """
        limit = timeout if timeout is not None else TIMEOUT_S if method == "GET" else ACTION_TIMEOUT_S
        try:
            used = self.connection()
            answer = self._once(used, method, path, query, body, headers, limit)
        except NoSupervisor:
            self._wait_for_return()
            used = self.connection()
            answer = self._once(used, method, path, query, body, headers, limit)
        for _ in range(TOKENS_TRIED):
            if answer.status != 401 or (newer := self._newer_than(used)) is None:
                break
            used = newer
            answer = self._once(used, method, path, query, body, headers, limit)
        if answer.status >= 400:
            raise error_of(answer)
        return answer

    def act(
        self, action: str, ids: Sequence[str], body: Mapping[str, Any] | None = None, *, wait: bool = True
    ) -> list[tuple[str, Any]]:
        """An action on any number of strategies, all at the same time; by id its answer or the error it met."""
        query = None if wait else {"wait": "0"}
        answer = self.post(f"/api/actions/{action}", {**(body or {}), "ids": list(ids)}, query)
        return [
            (row["id"], error_of(Answer(row["http_status"], {}, row)) if "error_code" in row else row)
            for row in answer["results"]
        ]

    def stream(
        self,
        path: str,
        query: Mapping[str, Any] | None = None,
        last_event_id: str | None = None,
        *,
        timeout: float = STREAM_TIMEOUT_S,
        revive: bool = True,
    ) -> EventStream:
        """Open a stream of server-sent events; iterate it, close it from any thread. Ends when the supervisor does.

        Without `revive` a supervisor that does not answer is an error at once.
        """
        extra = {"Accept": "text/event-stream"}
        if last_event_id:
            extra["Last-Event-ID"] = last_event_id
        for attempt in (1, 2):
            try:
                used = self.connection()
                connection, response = self._request(used, "GET", path, query, None, extra, timeout)
            except NoSupervisor:
                self._connection = None
                if attempt == 2 or not revive:
                    raise
                self._wait_for_return()
                continue
            except (OSError, http.client.HTTPException) as error:
                raise self._cut_off("GET", path, error) from None
            if response.status == 200:
                return EventStream(connection, response)
            answer = _answer(response)
            connection.close()
            if not (answer.status == 401 and attempt == 1 and self._newer_than(used)):
                raise error_of(answer)
        raise NoSupervisor(self._nobody())

    def _once(
        self,
        record: Mapping[str, Any],
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: Any,
        headers: Mapping[str, str] | None,
        timeout: float,
    ) -> Answer:
        try:
            connection, response = self._request(record, method, path, query, body, headers, timeout)
        except (OSError, http.client.HTTPException) as error:
            raise self._cut_off(method, path, error) from None
        try:
            return _answer(response)
        except (OSError, http.client.HTTPException) as error:
            raise self._cut_off(method, path, error) from None
        finally:
            connection.close()

    def _cut_off(self, method: str, path: str, error: Exception) -> Interrupted:
        what = (
            "did not answer in time"
            if isinstance(error, TimeoutError)
            else f"went away ({error or type(error).__name__})"
        )
        return Interrupted(f"the supervisor {what} during {method} {path}; look at the state before you try again")

    def _request(
        self,
        record: Mapping[str, Any],
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: Any,
        headers: Mapping[str, str] | None,
        timeout: float,
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        address = urlsplit(record["url"])
        connection = http.client.HTTPConnection(address.hostname or "127.0.0.1", address.port, timeout=timeout)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise NoSupervisor(f"{self._nobody()} ({error.strerror or error})") from None
        target = f"{path}?{urlencode(_plain_query(query))}" if query else path
        sent = {"Authorization": f"Bearer {record['token']}", "X-Stratpanel-By": _header_text(self.by)}
        if self.role:
            sent["X-Stratpanel-Role"] = self.role
        data, kind = _encoded(body)
        if kind:
            sent["Content-Type"] = kind
        sent.update(headers or {})
        try:
            connection.request(method, target, body=data, headers=sent)
            return connection, connection.getresponse()
        except BaseException:
            connection.close()
            raise

    # -- finding and starting the supervisor ------------------------------------------------------------------------

    def connection(self) -> dict[str, Any]:
        """The connection file, read again after a refusal; raises NoSupervisor, or Conflict on a version clash."""
        if self._connection is None:
            record = read_connection(self.workspace)
            if record is None:
                raise NoSupervisor(self._nobody())
            _check_protocol(record, self.workspace)
            self._connection = record
        return self._connection

    def _newer_than(self, used: Mapping[str, Any]) -> dict[str, Any] | None:
        """What the connection file says by now, None when that is what was used: another thread may have read it
        again already, so it is the call's own record that counts."""
        self._connection = None
        record = self.connection()
        return record if record != used else None

    def _nobody(self) -> str:
        return f"no supervisor answers for {self.workspace}; start it with `stratpanel up`"

    def reachable(self) -> bool:
        """True when a supervisor answers; starts nothing. Raises Conflict on a version clash."""
        self._connection = None
        try:
            return bool(self._once(self.connection(), "GET", "/api/health", None, None, None, 5.0).status == 200)
        except (NoSupervisor, Interrupted):
            return False

    def _wait_for_return(self) -> None:
        """After a refusal: if the workspace is meant to be up, wait for its return; else raise NoSupervisor."""
        self._connection = None
        if not runtime_of(self.workspace).wanted.exists():
            raise NoSupervisor(self._nobody())
        self.ensure()

    def ensure(self, timeout: float = START_S) -> None:
        """Start a supervisor if none answers, and wait until it does.

        After a `down` it comes up paused (`.stratpanel/paused` lies there until `up` or `resume`). Raises NoSupervisor
        with the reason when none can run.
        """
        if self.reachable():
            return
        from stratpanel.client.starting import start_supervisor

        start_supervisor(self, timeout)


def _answer(response: http.client.HTTPResponse) -> Answer:
    body = response.read()
    headers = {name.lower(): value for name, value in response.getheaders()}
    kind = headers.get("content-type", "")
    data: Any
    if kind.startswith("application/json"):
        data = json.loads(body) if body else None
    else:
        data = body.decode("utf-8", "replace")
    return Answer(response.status, headers, data)


def error_of(answer: Answer) -> StratpanelError:
    """The error an answer stands for, as the class that model/errors.py has for its status."""
    body = answer.data if isinstance(answer.data, dict) else {}
    message = str(body.get("message") or f"the supervisor answered {answer.status}")
    kind = _BY_STATUS.get(answer.status, StratpanelError)
    fields = body.get("fields")
    error = kind(message, code=body.get("error_code"), fields=fields if isinstance(fields, dict) else None)
    error.__dict__["status"] = answer.status
    return error


_BY_STATUS: dict[int, type[StratpanelError]] = {
    kind.status: kind
    for kind in (
        errors.Malformed,
        errors.Unauthorized,
        errors.Forbidden,
        errors.NotFound,
        errors.Conflict,
        errors.PreconditionFailed,
        errors.TooLarge,
        errors.InvalidValue,
        errors.TooMany,
        errors.Internal,
    )
}


def _check_protocol(record: Mapping[str, Any], workspace: Path) -> None:
    protocol = record.get("protocol")
    if protocol == PROTOCOL:
        return
    raise Conflict(
        f"the supervisor of {workspace} is stratpanel {record.get('version')} (protocol {protocol}), this is"
        f" {__version__} (protocol {PROTOCOL}); install the same version here, or hand over to this one:"
        " `stratpanel down --keep` with the other, then `stratpanel up` with this (strategies keep running)",
        code="PROTOCOL_MISMATCH",
    )


def _plain_query(query: Mapping[str, Any]) -> dict[str, str]:
    plain = {}
    for name, value in query.items():
        if value is None:
            continue
        plain[name] = ("1" if value else "0") if isinstance(value, bool) else str(value)
    return plain


def _encoded(body: Any) -> tuple[bytes | None, str | None]:
    if body is None:
        return None, None
    if isinstance(body, str):
        return body.encode("utf-8"), "text/x-python; charset=utf-8"
    if isinstance(body, bytes):
        return body, "application/octet-stream"
    return json.dumps(body).encode(), "application/json"


def _header_text(text: str) -> str:
    return text.encode("ascii", "replace").decode()[:64]
