"""One command's connection: which workspace, which supervisor, who is asking.

Used by every command that talks to the supervisor; the only place of the command line that starts one.
"""

from __future__ import annotations

import argparse
import getpass
import os
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from stratpanel.client.connection import Api, find_workspace
from stratpanel.model.errors import StratpanelError

T = TypeVar("T")


def workspace_of(options: argparse.Namespace) -> Path:
    """The workspace of this command; an error naming the three ways to say it where there is none."""
    return Path(find_workspace(options.workspace))


def who() -> str:
    """Who acts, for the event log: `cli:` and the login name."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's uid without a passwd entry
        name = f"uid{os.getuid()}"
    return f"cli:{name}"


def connect(options: argparse.Namespace, *, start: bool = True) -> Api:
    """The API of the workspace's supervisor, which is started when none runs (paused after a `down`)."""
    api = Api(workspace_of(options), by=who())
    if start:
        api.ensure()
    return api


def path_of(strategy_id: str, *rest: str) -> str:
    """`/api/strategies/<id>/…` with the id quoted."""
    return "/".join(["/api/strategies", quote(strategy_id, safe=""), *rest])


def for_each(ids: list[str], act: Any) -> list[tuple[str, Any]]:
    """Act on all ids at the same time; pairs of id and answer or StratpanelError, in the order given."""

    from concurrent.futures import ThreadPoolExecutor  # 5 ms, of which `status` has no use

    def attempt(strategy_id: str) -> Any:
        try:
            return act(strategy_id)
        except StratpanelError as error:
            return error

    with ThreadPoolExecutor(max_workers=min(64, max(1, len(ids)))) as pool:
        return list(zip(ids, pool.map(attempt, ids), strict=True))
