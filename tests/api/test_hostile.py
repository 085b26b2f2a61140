"""Hostile and broken requests: clear errors, no server error, no growth."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.api.conftest import Served
from tests.api.test_contract import assert_error, multipart
from tests.api.test_streams import resident_mb

IDS = [
    "..", ".", "../../etc/passwd", "..%2f..", "a/b", "/etc/passwd", "a\\b", "\0", "ema\0", "\u0065\u0301ma",
    "\U0001f4c8", "x" * 300, "x" * 101, "-rf", " ema", "ema.", "ema ", "a..b", "con\n", "\r\nX: y", "%", "%zz",
    "ema;ls",
    "$(id)", "<b>", "\ud800", "'", '"',
]  # fmt: skip


def as_path(id: str) -> str:
    return quote(id.encode("utf-8", "surrogatepass"), safe="")


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("rest", ["", "/source", "/logs", "/logs/stream", "/versions/1", "/start"])
def test_an_id_that_cannot_be_is_unknown(served: Served, id: str, rest: str) -> None:
    method = "POST" if rest == "/start" else "GET"
    reply = served.call(method, f"/api/strategies/{as_path(id)}{rest}")
    assert reply.status in (400, 404), reply.body
    assert_error(reply.json)
    assert not served.core.calls


@pytest.mark.parametrize("id", IDS)
def test_an_id_that_cannot_be_is_not_taken(served: Served, id: str) -> None:
    body = json.dumps({"id": id, "source": "print(1)"})
    reply = served.call("POST", "/api/strategies", body)
    assert reply.status in (400, 422), reply.body
    upload, kind = multipart("x.py", b"x", id=id.encode("utf-8", "replace").decode())
    assert served.call("POST", "/api/strategies", upload, headers={"Content-Type": kind}).status in (400, 422)
    assert not served.core.calls


@pytest.mark.parametrize(
    "path", ["/api/strategies/../strategies", "/api//strategies", "//api/strategies", "/api/strategies/ema/../rsi"]
)
def test_paths_are_not_tidied_up(served: Served, path: str) -> None:
    assert served.call("GET", path).status == 404


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"nul", b"[]", b'"text"', b"5", b"null", b"{'a': 1}", b'{"a": NaN}', b'{"a": Infinity}', b"\xff\xfe",
        b'{"a": "\\u0000"}', b'{"a": "\\ud800"}', b"[" * 100_000, b'{"a":' * 50_000, b'{"a":' * 500 + b"1" + b"}" * 500,
        b'{"\\u0061":' * 3000 + b"1" + b"}" * 3000, b'{"n": ' + b"9" * 5000 + b"}",
        b"\x00", b"\xef\xbb\xbf{}", b'{"a": 1} x',
    ],
)  # fmt: skip
def test_a_body_that_is_not_json_is_malformed(served: Served, body: bytes) -> None:
    for method, path in (
        ("PATCH", "/api/strategies/ema"),
        ("POST", "/api/strategies"),
        ("POST", "/api/strategies/ema/start"),
    ):
        reply = served.call(method, path, body, headers={"Content-Type": "application/json"})
        assert reply.status == 400, (method, path, reply.body)
        assert_error(reply.json, "MALFORMED")


def test_an_empty_patch_is_malformed(served: Served) -> None:
    assert served.call("PATCH", "/api/strategies/ema", b"").status == 400


def test_json_over_a_megabyte_is_413(served: Served) -> None:
    body = b'{"notes": "' + b"x" * (1024 * 1024) + b'"}'
    for path in ("/api/strategies/ema", "/api/strategies/ema/start"):
        reply = served.call("PATCH" if path.endswith("ema") else "POST", path, body)
        assert reply.status == 413
        assert_error(reply.json, "TOO_LARGE")


def test_a_chunked_body_cannot_evade_the_limit(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as sock:
        head = (
            f"PATCH /api/strategies/ema HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {served.api.token}\r\n"
            "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        )
        sock.sendall(head.encode())
        for _ in range(50):
            sock.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        sock.sendall(b"0\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"TOO_LARGE"' in answer


def test_a_100_mb_upload_is_refused_in_words_with_flat_memory(served: Served) -> None:
    before = resident_mb()
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as sock:
        head = (
            f"POST /api/strategies HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {served.api.token}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\nConnection: close\r\n"
            f"Content-Length: {100 * 1024 * 1024}\r\n\r\n"
        )
        sock.sendall(head.encode())
        for _ in range(1600):
            sock.sendall(b"x" * 65536)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert resident_mb() - before < 20


def test_an_upload_that_would_wait_for_permission_is_refused_before_it_is_sent(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as sock:
        head = (
            f"POST /api/strategies HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {served.api.token}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 999999999\r\nExpect: 100-continue\r\n\r\n"
        )
        sock.sendall(head.encode())
        assert sock.recv(65536).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "multipart/form-data; boundary=b"),
        (b"--b\r\n\r\n--b--\r\n", "multipart/form-data; boundary=b"),
        (b"--b\r\nContent-Disposition: form-data; name=other\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b"),
        (b"x", "multipart/form-data"),
        (b"--b\r\nbroken", "multipart/form-data; boundary=b"),
        (multipart("a.py", b"x")[0] * 2, "multipart/form-data; boundary=b0und"),
    ],
)
def test_a_broken_upload_is_refused(served: Served, body: bytes, kind: str) -> None:
    reply = served.call("POST", "/api/strategies", body, headers={"Content-Type": kind})
    assert reply.status in (400, 422), reply.body
    assert_error(reply.json)
    assert not served.core.calls


def test_uploads_that_break_off_give_their_place_back(served: Served) -> None:
    for _ in range(5):
        sock = socket.create_connection(("127.0.0.1", served.port))
        head = (
            f"POST /api/strategies HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {served.api.token}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 100000\r\n\r\nhalf"
        )
        sock.sendall(head.encode())
        sock.close()
    body, kind = multipart("ok.py", b"print(1)")
    assert served.call("POST", "/api/strategies", body, headers={"Content-Type": kind}, timeout=5).status == 201


UNREADABLE = {
    "no request line": (b"\r\n\r\n", 400),
    "half a request line": (b"GET\r\n\r\n", 400),
    "bytes": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "another version": (b"GET / HTTP/9.9\r\n\r\n", 400),
    "NUL in the method": (b"G\0T / HTTP/1.1\r\n\r\n", 400),
    "no Host": (b"GET /api/health HTTP/1.1\r\n\r\n", 400),
    "no colon": (b"GET / HTTP/1.1\r\nHost: localhost\r\nnothing\r\n\r\n", 400),
    "folded first": (b"GET / HTTP/1.1\r\n x\r\n\r\n", 400),
    "length below 0": (b"POST /api/pause HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
    "length no number": (b"POST /api/pause HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", 400),
    "two lengths": (
        b"POST /api/pause HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        400,
    ),
    "length too long": (
        b"POST /api/pause HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999\r\n\r\n",
        400,
    ),
    "chunk size no number": (
        b"POST /api/pause HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        400,
    ),
    "chunk not ended": (
        b"POST /api/pause HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n",
        400,
    ),
    "length and chunks": (
        b"POST /api/pause HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        400,
    ),
    "unknown encoding": (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: brotli\r\n\r\n", 400),
    "headers too long": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", 431),
    "request line too long": (b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
    "headers without end": (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000, 431),
    "unknown method": (b"BREW /api/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405),
    "method in small letters": (b"get /api/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405),
}


def whole_answers(sock: socket.socket) -> bytes:
    """All that comes until the other side closes, one way or another."""
    found = b""
    try:
        while data := sock.recv(65536):
            found += data
    except ConnectionResetError:
        pass
    return found


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_http_is_answered_with_our_error(served: Served, name: str) -> None:
    request, status = UNREADABLE[name]
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as sock:
        sock.sendall(request)
        head, _, body = whole_answers(sock).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), (head, body)
    assert b"application/json" in head
    assert b"content-length: %d" % len(body) in head.lower()
    code = {400: "MALFORMED", 405: "METHOD_NOT_ALLOWED", 431: "HEADERS_TOO_LARGE"}[status]
    assert_error(json.loads(body), code)
    assert not served.core.calls


def test_a_good_request_before_a_bad_one_is_answered_and_so_is_the_bad_one(served: Served) -> None:
    good = f"GET /api/health HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {served.api.token}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as sock:
        sock.sendall(good.encode() + b"nonsense\r\n\r\n")
        answers = whole_answers(sock)
    assert answers.count(b"HTTP/1.1 ") == 2
    assert answers.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 400 Bad Request" in answers
    assert answers.endswith(b"}")


def test_an_answer_that_was_given_is_not_followed_by_another(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as sock:
        sock.sendall(
            b"POST /api/pause HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n"
        )
        answers = whole_answers(sock)
    assert answers.count(b"HTTP/1.1 4") == 1, answers


def broken_requests(count: int, token: str, seed: int) -> Iterator[bytes]:
    """Requests that are wrong in every layer: bytes, request line, headers, lengths, chunks, paths, JSON."""
    rnd = random.Random(seed)
    auth = f"Host: localhost\r\nAuthorization: Bearer {token}\r\n".encode()
    methods = [
        b"GET",
        b"POST",
        b"PATCH",
        b"PUT",
        b"DELETE",
        b"BREW",
        b"",
        b"get",
        b"G\x00T",
        b"TRACE",
        b"CONNECT",
        b"OPTIONS",
    ]
    paths = [
        b"/api/strategies/ema", b"/api/strategies/%00", b"/" + b"a" * 5000, b"*", b"http://evil/api/health",
        b"/api/%ff%fe",
        b"/api/strategies/ema/logs?lines=" + b"9" * 400, b"/api/events?since=%00", b"/?" + b"&".join([b"a=b"] * 3000),
        b"/api/strategies/ema/usage?since=1e999&step=nan",
        b"/api/strategies/ema/schedule/explain?at=9999-99-99T99:99:99Z",
        b"/api/calendars/%2e%2e%2fNSE?from=0000-00-00", b"/api/strategies/ema/logs?before=%0a%0d&search=%00",
        b"\xff\xfe\xfd",
    ]  # fmt: skip
    bodies = [b"", b"{", b"\x00" * 100, b'{"a":' * 2000, b"[1,2", b'{"limits": {"memory_mb": 1e400}}', b"\xff" * 50]
    for _ in range(count):
        kind = rnd.randrange(6)
        if kind == 0:
            yield rnd.randbytes(rnd.randrange(1, 300)) + b"\r\n\r\n"
            continue
        body = rnd.choice(bodies)
        line = b" ".join(
            [rnd.choice(methods), rnd.choice(paths), rnd.choice([b"HTTP/1.1", b"HTTP/9.9", b"", b"HTTP/1.0"])]
        )
        extra = rnd.choice([
            b"", b"Content-Length: -1\r\n", b"Content-Length: 99999999999\r\n", b"Content-Length: x\r\n",
            b"Transfer-Encoding: chunked\r\n", b"Content-Length: %d\r\n" % len(body), b"X: " + b"y" * 40000 + b"\r\n",
            b"Content-Length: 5\r\nContent-Length: 6\r\n", b"no colon\r\n", b" folded\r\n", b"\x00: \x00\r\n",
            b"Content-Type: multipart/form-data\r\nContent-Length: %d\r\n" % len(body), b"Expect: 100-continue\r\n",
            b"If-Match: " + b'"' * 99 + b"\r\n", b"Last-Event-ID: \xff\xfe\r\n", b"Cookie: " + b"=;" * 500 + b"\r\n",
        ])  # fmt: skip
        yield line + b"\r\n" + (auth if kind > 1 else b"") + extra + b"Connection: close\r\n\r\n" + body


def test_10000_malformed_requests_with_flat_memory(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    statuses: dict[bytes, int] = {}

    def send(requests: Iterator[bytes]) -> None:
        for request in requests:
            with socket.create_connection(("127.0.0.1", served.port), timeout=5) as sock:
                try:
                    sock.sendall(request)
                    sock.shutdown(socket.SHUT_WR)
                    answer = sock.recv(65536)
                except (ConnectionResetError, BrokenPipeError):
                    answer = b""
            if answer[9:10] == b"4":
                assert b'"error_code"' in answer, (request[:300], answer[:300])
            status = answer[9:12]
            statuses[status] = statuses.get(status, 0) + 1
            assert not status.startswith(b"5"), (request[:300], answer[:300])

    send(broken_requests(2000, served.api.token, seed))
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    warm = resident_mb()
    send(broken_requests(8000, served.api.token, seed + 1))
    assert resident_mb() - warm < 8
    assert abs(len(list(Path("/proc/self/fd").iterdir())) - descriptors) < 10
    assert served.call("GET", "/api/health").status == 200
    assert sum(statuses.values()) == 10_000
    assert "Traceback" not in caplog.text
