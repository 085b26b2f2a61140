"""The errors that cross rooms: each has a code for scripts, a sentence for people and an HTTP status.

Raised by the model, the supervisor and the client; the API turns them into JSON and the command line into one line on
standard error. Standard library only, so that every process can afford it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class StratpanelError(Exception):
    """Base of all errors a user may see; the message is lower case, without trailing dot, and names the remedy."""

    status: ClassVar[int] = 400
    default_code: ClassVar[str] = "ERROR"

    def __init__(self, message: str, *, code: str | None = None, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.fields: dict[str, str] = dict(fields or {})

    def to_json(self) -> dict[str, object]:
        """The error body of CONTRACTS: status, error_code, message and, where there are any, fields."""
        body: dict[str, object] = {"status": "error", "error_code": self.code, "message": self.message}
        if self.fields:
            body["fields"] = self.fields
        return body


class Malformed(StratpanelError):
    """The request cannot be read at all (bad JSON, bad path)."""

    default_code = "MALFORMED"


class Unauthorized(StratpanelError):
    """No token, or a wrong one."""

    status = 401
    default_code = "UNAUTHORIZED"


class Forbidden(StratpanelError):
    """The caller is known but its role does not allow this."""

    status = 403
    default_code = "FORBIDDEN"


class NotFound(StratpanelError):
    """The thing named does not exist."""

    status = 404
    default_code = "NOT_FOUND"


class Conflict(StratpanelError):
    """The thing exists but its state does not allow this now."""

    status = 409
    default_code = "CONFLICT"


class PreconditionFailed(StratpanelError):
    """Somebody else changed the thing first (ETag)."""

    status = 412
    default_code = "CHANGED_MEANWHILE"


class TooLarge(StratpanelError):
    """The body is larger than the route takes."""

    status = 413
    default_code = "TOO_LARGE"


class InvalidValue(StratpanelError):
    """A value breaks the schema; `fields` maps the path of each bad field to a sentence."""

    status = 422
    default_code = "INVALID_VALUE"


class TooMany(StratpanelError):
    """A bounded resource (log streams) is used up."""

    status = 429
    default_code = "TOO_MANY"


class Internal(StratpanelError):
    """Our own fault; the supervisor's log has the traceback."""

    status = 500
    default_code = "INTERNAL"
