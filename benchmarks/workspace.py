"""A throw-away workspace with a real supervisor for measurements, and figures read from /proc."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.workbench import Workbench

READS = """
import json, selectors, socket, sys, urllib.parse
where = json.load(open(sys.argv[1]))
address = urllib.parse.urlsplit(where["url"])
waiting = selectors.DefaultSelector()
for _ in range(int(sys.argv[2])):
    sock = socket.create_connection((address.hostname, address.port))
    head = f"GET /api/mirror/stream HTTP/1.1\\r\\nHost: {address.netloc}\\r\\nAuthorization: Bearer {where['token']}"
    sock.sendall((head + "\\r\\n\\r\\n").encode())
    assert sock.recv(65536).startswith(b"HTTP/1.1 200"), "no stream"
    waiting.register(sock, selectors.EVENT_READ)
print("reading", flush=True)
while True:
    for key, _ in waiting.select():
        key.fileobj.recv(1 << 20)
"""


@contextmanager
def workspace() -> Iterator[Workbench]:
    """Up and empty; taken down with everything in it afterwards."""
    with tempfile.TemporaryDirectory(prefix="sp-bench-") as folder:
        bench = Workbench.make(Path(folder) / "w")
        try:
            bench.cli("up")
            yield bench
        finally:
            bench.close()


def cpu_seconds(pid: int) -> float:
    """What the living threads of one process have run so far, to the microsecond; `stat` counts in 10 ms."""
    spent = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            spent += int((thread / "schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):  # a worker that has just ended
            continue
    return spent / 1e9


@contextmanager
def mirrors(folder: Path, count: int) -> Iterator[None]:
    """So many open mirror streams, read and thrown away by one process of their own."""
    if not count:
        yield
        return
    command = [sys.executable, "-c", READS, str(folder / ".stratpanel" / "connection.json"), str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as readers:
        assert readers.stdout is not None
        readers.stdout.readline()  # all of them have their snapshot
        try:
            yield
        finally:
            readers.terminate()


def pss_mb(pid: int) -> float:
    """Proportional set size in MiB: shared pages count once over all that share them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"no Pss of {pid}")
