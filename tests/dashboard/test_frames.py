"""Messages written past Bokeh: the same to the browser as Bokeh's own, in order, and nothing kept for who is gone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from bokeh.document import Document
from bokeh.document.events import ColumnsStreamedEvent, MessageSentEvent
from bokeh.model import DataModel
from bokeh.models import ColumnDataSource
from bokeh.protocol import Protocol
from panel.io.document import _WRITE_MSGS
from panel.models.esm import ESMEvent, ReactiveESM
from tornado.locks import Lock
from tornado.web import Application
from tornado.websocket import WebSocketClientConnection, WebSocketHandler, websocket_connect

from stratpanel.dashboard import frames

AWKWARD = 'a "quote", a \\ and \n, ₹ 🚀 </script> \x1b[31m'


def content_of(event: Any) -> Any:
    """What Bokeh's own protocol says of an event in a document that the browser has."""
    event.document.models.flush_synced()
    return json.loads(Protocol().create("PATCH-DOC", [event]).content_json)["events"]


def test_a_message_is_what_bokeh_would_have_said() -> None:
    document, model = Document(), ReactiveESM(data=DataModel())
    document.add_root(model)
    own = MessageSentEvent(document, "bokeh_event", ESMEvent(model=model, data='{"g":3,' + AWKWARD))
    assert [json.loads(frames.message(model.id, '{"g":3,', AWKWARD))] == content_of(own)


def test_appended_rows_are_what_bokeh_would_have_said() -> None:
    source = ColumnDataSource({"t": [], "y": []})
    document = Document()
    document.add_root(source)
    columns = {"t": [1.5, 2.5], "y": [3.0, float("nan")]}
    bokehs = content_of(ColumnsStreamedEvent(document, source, "data", columns, 60))
    assert [json.loads(frames.streamed(source.id, {"t": [1.5, 2.5], "y": [3.0, None]}, 60))] == bokehs


class Taken:
    """A document whose one session has these sockets open."""

    def __init__(self, *sockets: Any) -> None:
        connections = [type("Connection", (), {"_socket": socket})() for socket in sockets]
        self.session = type("Session", (), {"_subscribed_connections": connections, "_lock": Lock()})()
        self.session_context = type("Context", (), {"session": self.session})()
        self.callbacks = Document().callbacks


@pytest.mark.parametrize("size", [1, 125, 126, 65_535, 65_536, 300_000])
def test_frames_of_every_length_arrive_whole_and_between_those_of_tornado(size: int) -> None:
    assert asyncio.run(both_ways("x" * size)) == ["before", HEADER, "{}", '{"events":["' + "x" * size + '"]}', "after"]


HEADER = '{"msgid":"stratpanel","msgtype":"PATCH-DOC","num_buffers":0}'


async def both_ways(text: str) -> list[str]:
    """What a client gets of a message of Tornado's, one of ours and another of Tornado's."""
    joined: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    class Socket(WebSocketHandler):
        def initialize(self) -> None:
            self.write_lock = Lock()

        def open(self, *_: str, **__: str) -> None:
            joined.set_result(self)

    server = Application([("/", Socket)]).listen(0, "127.0.0.1")
    port = next(iter(server._sockets.values())).getsockname()[1]
    client: WebSocketClientConnection = await websocket_connect(f"ws://127.0.0.1:{port}/")
    socket = await joined
    await socket.write_message("before")
    document: Any = Taken(socket)
    assert frames.send(document, lambda: [json.dumps(text)])
    with await socket.write_lock.acquire():  # Bokeh is in the middle of a message of its own
        assert not frames.send(document, lambda: ["never"])
    with await document.session._lock.acquire():  # a callback changes models, which the browser has yet to be told of
        assert not frames.send(document, lambda: ["never"])
    _WRITE_MSGS[document] = {}  # Panel has something to send when Bokeh's message is through
    assert not frames.send(document, lambda: ["never"])
    del _WRITE_MSGS[document]
    await socket.write_message("after")
    got = [str(await client.read_message()) for _ in range(5)]
    client.close()
    server.stop()
    return got


def test_nobody_there_and_nobody_to_be_asked() -> None:
    gone: Any = Taken()
    assert frames.send(gone, lambda: pytest.fail("encoded for nobody")), "it is lost, as with Bokeh"
    other: Any = Taken(object())
    assert not frames.send(other, list), "a socket that is not Tornado's takes Bokeh's way"
    assert not frames.send(Document(), list), "a document without a session takes Bokeh's way"
