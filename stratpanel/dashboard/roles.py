"""Who looks at a page and what they may do: viewer looks, operator starts, stops and edits, admin does the rest.

Every action asks here, whatever the page shows; a hidden button is a courtesy, not a lock.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from stratpanel.model.errors import Forbidden, InvalidValue

RANK = {"viewer": 0, "operator": 1, "admin": 2}

# The same line as the API draws: operators act on what runs, admins change code and configuration.
OPERATOR = frozenset(["start", "stop", "kill", "restart", "reset", "pause", "resume", "panic", "reload"])
VIEWER = frozenset(["look"])


@dataclass(frozen=True)
class Person:
    """The one in front of a page."""

    name: str
    role: str

    def require(self, action: str) -> None:
        """Raise Forbidden, in words, unless this role may do it."""
        needed = "viewer" if action in VIEWER else "operator" if action in OPERATOR else "admin"
        if RANK[self.role] < RANK[needed]:
            raise Forbidden(
                f"{action.replace('_', ' ')} needs the role {needed}; {self.name or 'you'} has the role {self.role}"
            )

    def may(self, action: str) -> bool:
        """True if `require` would let it pass."""
        try:
            self.require(action)
        except Forbidden:
            return False
        return True


def roles_of(workspace: Path) -> dict[str, str]:
    """The `[roles]` table of stratpanel.toml: name = "viewer" | "operator" | "admin".

    Raises InvalidValue naming the file when it does not parse or holds an unknown role.
    """
    path = workspace / "stratpanel.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("roles", {})
    except FileNotFoundError:
        return {}
    except tomllib.TOMLDecodeError as error:
        raise InvalidValue(f"{path} does not parse: {error}; nobody is let in until it does") from error
    bad = {
        f"roles.{name}": f"{role!r} is not viewer, operator or admin"
        for name, role in table.items()
        if role not in RANK
    }
    if bad:
        raise InvalidValue(f"{path} names an unknown role: {', '.join(bad)}", fields=bad)
    return dict(table)


def person(workspace: Path, name: str, *, holds_token: bool) -> Person:
    """The role of `name`: the table's; without a table, or with the workspace's own token, admin; else viewer."""
    table = roles_of(workspace)
    if name in table:
        return Person(name, table[name])
    return Person(name, "admin" if holds_token or not table else "viewer")
