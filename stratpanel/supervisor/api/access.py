"""Who may call: host names, bearer tokens, roles.

Called by route.py before anything else of a request is looked at. There is one secret, the admin token in
connection.json; the operator's and the viewer's are derived from it, so rotating one rotates all. Never says which
part of a check failed beyond what the caller already knows.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from enum import IntEnum

from stratpanel.model.errors import Forbidden, Unauthorized


class Role(IntEnum):
    """What a caller may do; each role includes those below it."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3


def new_token() -> str:
    """A fresh admin token: 256 bits, safe in URLs and headers."""
    return secrets.token_urlsafe(32)


def derived_token(admin: str, role: Role) -> str:
    """The token of a lesser role; knowing it does not help to find the admin's."""
    if role is Role.ADMIN:
        return admin
    name = role.name.lower()
    return f"{name}-" + hmac.new(admin.encode(), f"stratpanel {name}".encode(), hashlib.sha256).hexdigest()


class Tokens:
    """The tokens in force; all three are compared on each call so that time tells nothing."""

    def __init__(self, admin: str) -> None:
        self.replace(admin)

    def replace(self, admin: str) -> None:
        """Make `admin` the only valid root; tokens derived from the old one stop working."""
        self.by_role = {role: derived_token(admin, role) for role in Role}

    def role_of(self, authorization: str | None) -> Role:
        """The role behind an Authorization header; raises Unauthorized."""
        scheme, _, given = (authorization or "").partition(" ")
        candidate = given.strip().encode("utf-8", "replace")
        found: Role | None = None
        for role, token in self.by_role.items():
            if hmac.compare_digest(candidate, token.encode()):
                found = role
        if found is None or scheme.lower() != "bearer":
            raise Unauthorized(
                'no valid token; send "Authorization: Bearer" with the token of .stratpanel/connection.json'
            )
        return found


def narrowed(role: Role, wanted: str | None) -> Role:
    """The lesser of `role` and the role named in X-Stratpanel-Role: a page acting for a viewer gives up its power."""
    if not wanted:
        return role
    try:
        return min(role, Role[wanted.upper()])
    except KeyError:
        raise Forbidden(f"there is no role {wanted[:40]!r}; roles are viewer, operator, admin") from None


def require_loopback_name(host: str | None) -> None:
    """Raise Forbidden unless a Host header names this machine itself.

    A web page that rebinds its own name to 127.0.0.1 reaches our port with its own name in Host (DNS rebinding).
    """
    name = (host or "").strip().lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    if name == "localhost":
        return
    try:
        if ipaddress.ip_address(name).is_loopback:
            return
    except ValueError:
        pass  # a name, not an address; only the one above is allowed
    raise Forbidden("this host name is not served; call 127.0.0.1 or localhost", code="HOST_NOT_ALLOWED")
