"""Port and token: they outlive supervisors, and are left behind with a port that a stranger has taken."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Served


def connection(served: Served) -> dict[str, Any]:
    return dict(json.loads(served.connection_path.read_text()))


def test_port_and_token_outlive_a_restart(served: Served) -> None:
    before = connection(served)
    for _ in range(5):
        served.stop()
        served.start()
        after = connection(served)
        assert (after["url"], after["token"]) == (before["url"], before["token"])
        assert served.call("GET", "/api/health").status == 200


def test_the_port_is_retaken_over_connections_that_linger(served: Served) -> None:
    before = connection(served)
    open_ones = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(20)]
    served.stop()
    served.start()
    for each in open_ones:
        each.close()
    assert connection(served)["url"] == before["url"]


def test_a_port_taken_by_a_stranger_is_left_with_its_token(served: Served) -> None:
    before = connection(served)
    port = served.port
    served.stop()
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        served.start()
        after = connection(served)
        assert after["url"] != before["url"]
        assert after["token"] != before["token"], "our clients have shown the old one to the stranger"


def test_a_dying_predecessor_is_waited_for(served: Served) -> None:
    import threading

    before = connection(served)
    port = served.port
    served.stop()
    predecessor = socket.socket()
    predecessor.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    predecessor.bind(("127.0.0.1", port))
    predecessor.listen()
    threading.Timer(0.15, predecessor.close).start()
    served.start()
    assert connection(served)["url"] == before["url"]
    assert connection(served)["token"] == before["token"]


def test_a_copied_workspace_shares_neither(served: Served, tmp_path_factory: pytest.TempPathFactory) -> None:
    copy = tmp_path_factory.mktemp("copy") / "ws"
    shutil.copytree(served.workspace, copy)
    second = Served(copy, [])
    try:
        assert connection(second)["url"] != connection(served)["url"]
        assert connection(second)["token"] != connection(served)["token"]
    finally:
        second.close()


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"url": "http://127.0.0.1:x", "token": "t"}', '{"url": 5}', '{"url": "http://[", "token": 1}'],
)
def test_a_damaged_connection_file_is_replaced(workspace: Path, content: str) -> None:
    path = workspace / ".stratpanel" / "connection.json"
    path.parent.mkdir()
    path.write_text(content)
    path.chmod(0o644)
    served = Served(workspace, [])
    try:
        assert served.call("GET", "/api/health").status == 200
        assert path.stat().st_mode & 0o777 == 0o600
    finally:
        served.close()


def test_only_loopback_is_listened_on(served: Served) -> None:
    assert served.api.endpoint.socket.getsockname()[0] == "127.0.0.1"
