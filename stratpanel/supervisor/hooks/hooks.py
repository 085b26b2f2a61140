"""Tells the outside what happened: the user's command, and apprise addresses, once per event, one at a time.

The loop offers events and goes on; one thread runs the commands, each with the event as JSON on standard input and ten
seconds for its whole process tree. What fails is reported as an event of type `hook`, which is never given to hooks.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import selectors
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from stratpanel.model.errors import StratpanelError
from stratpanel.supervisor.configuration.secrets import mask_texts
from stratpanel.supervisor.configuration.settings import OnEvent

log = logging.getLogger("stratpanel.hooks")

LIMIT_S = 10.0
WAITING = 200  # events; more than that means the command hangs, and old news help nobody
OUTPUT_BYTES = 4096  # of the command's last words
SHIM = Path(__file__).with_name("shim.py")
TYPE = "hook"

Json = dict[str, object]


class Hooks:
    """`report` gets events of type `hook` from this room's thread: post them to the loop.

    `mask` hides secrets in what leaves; `address` turns a name of `[on_event] notify` into an apprise address.
    """

    def __init__(
        self,
        on_event: OnEvent,
        *,
        workspace: Path,
        report: Callable[[Json], None],
        env: Mapping[str, str] | None = None,
        mask: Callable[[str], str] = str,
        address: Callable[[str], str] = str,
        limit_s: float = LIMIT_S,
    ) -> None:
        self._on_event = on_event
        self._workspace = workspace
        self._report = report
        self._env = dict(env or {})
        self._mask = mask
        self._address = address
        self._limit_s = limit_s
        self._waiting: queue.Queue[Json | None] = queue.Queue(WAITING)
        self._dropped = 0
        self._closed = False
        self._abandoned = False  # what still waits is not told any more
        self._thread = threading.Thread(target=self._run, name="hooks", daemon=True)
        self._thread.start()

    def configure(self, on_event: OnEvent, env: Mapping[str, str]) -> None:
        """Use these settings from the next event on."""
        self._on_event = on_event
        self._env = dict(env)

    def offer(self, event: Mapping[str, object]) -> bool:
        """Queue an event if its type is wanted; False when it is not, or when too many wait. Never blocks."""
        wanted = self._on_event.wanted and event.get("type") in self._on_event.types and event.get("type") != TYPE
        if not wanted or self._closed:
            return False
        try:
            self._waiting.put_nowait(dict(event))
        except queue.Full:
            self._dropped += 1
            return False
        return True

    def close(self, timeout: float = LIMIT_S) -> None:
        """Let what waits be told for up to `timeout` seconds, then leave; a command under way keeps its own limit."""
        self._closed = True
        until = time.monotonic() + timeout
        while self._thread.is_alive() and time.monotonic() < until:
            try:
                self._waiting.put_nowait(None)
            except queue.Full:  # the thread sees the end when it has told what waits
                pass
            self._thread.join(min(0.1, timeout))
        self._abandoned = True

    def _run(self) -> None:
        while (event := self._waiting.get()) is not None and not self._abandoned:
            on_event = self._on_event
            if on_event.command:
                self._tell(event, list(on_event.command), self._masked(event))
            if on_event.notify:
                self._notify(event, on_event.notify)
            dropped, self._dropped = self._dropped, 0
            if dropped:
                self._failed(event, f"{dropped} events were not told to the on_event command: it is too slow")

    def _notify(self, event: Json, names: tuple[str, ...]) -> None:
        try:
            addresses = [self._address(name) for name in names]
        except StratpanelError as error:
            self._failed(event, f"cannot notify: {error.message}")
            return
        program = [sys.executable, "-m", "stratpanel.supervisor.hooks.notify"]
        self._tell(event, program, {"event": self._masked(event), "addresses": addresses}, shown="notify")

    def _masked(self, event: Json) -> Json:
        return mask_texts(json.loads(json.dumps(event, default=str)), self._mask)

    def _tell(self, event: Json, command: list[str], body: Json, *, shown: str = "") -> None:
        """Run one command with `body` on its standard input; report anything but exit 0 within the limit."""
        shown = shown or " ".join(command)
        text = json.dumps(body)
        try:
            answer, output = self._run_shim(command, text, str(event.get("type")))
        except (OSError, ValueError) as error:  # ValueError: the shim died without an answer
            self._failed(event, f"the on_event command could not be run: {error}")
            return
        last = self._mask(output.decode("utf-8", "replace").strip()[-500:])
        said = f"; it said: {last}" if last else ""
        if "error" in answer:
            self._failed(event, f"the on_event command failed: {answer['error']}; check [on_event] in stratpanel.toml")
        elif answer.get("killed") and answer.get("code") is None:
            self._failed(event, f"the on_event command ({shown}) was killed after {self._limit_s:g} s{said}")
        elif answer.get("killed"):
            self._failed(event, f"processes that {shown} left behind were killed after {self._limit_s:g} s{said}")
        elif answer.get("code") != 0:
            self._failed(event, f"the on_event command ({shown}) ended with {answer.get('code')}{said}")
        else:
            log.debug("told %s of %s", shown, event.get("type"))

    def _run_shim(self, command: list[str], text: str, type_: str) -> tuple[Json, bytes]:
        """The shim's answer and the last words of the command."""
        environment = {**os.environ, **self._env}
        environment |= {"STRATPANEL_WORKSPACE": str(self._workspace), "STRATPANEL_EVENT": type_}
        result_read, result_write = os.pipe()
        output_read, output_write = os.pipe()
        try:
            with tempfile.TemporaryFile() as body:  # a file, so that a command that never reads blocks nobody
                body.write(text.encode() + b"\n")
                body.seek(0)
                shim = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(SHIM), str(self._limit_s), str(result_write), *command],
                    stdin=body,
                    stdout=output_write,
                    stderr=output_write,
                    cwd=self._workspace,
                    env=environment,
                    pass_fds=(result_write,),
                    start_new_session=True,
                )
        finally:
            os.close(result_write)
            os.close(output_write)
        try:
            result, output = _collect(result_read, output_read, self._limit_s + 5)
        finally:
            os.close(result_read)
            os.close(output_read)
            try:
                shim.wait(timeout=2)
            except subprocess.TimeoutExpired:
                shim.kill()
                shim.wait()
        answer: Json = json.loads(result)
        return answer, output

    def _failed(self, event: Json, message: str) -> None:
        log.warning("%s", message)
        self._report({"type": TYPE, "id": event.get("id"), "by": "stratpanel", "message": message})


def _collect(result_fd: int, output_fd: int, seconds: float) -> tuple[bytes, bytes]:
    """Read both pipes until the shim closes its result; of the output only the end is kept."""
    kept = {result_fd: b"", output_fd: b""}
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for descriptor in kept:
            os.set_blocking(descriptor, False)
            selector.register(descriptor, selectors.EVENT_READ)
        finished = False
        while not finished and time.monotonic() < deadline:
            for key, _events in selector.select(max(0.0, deadline - time.monotonic())):
                data = os.read(key.fd, 65_536)
                kept[key.fd] = (kept[key.fd] + data)[-OUTPUT_BYTES:]
                if not data:
                    selector.unregister(key.fd)
                    finished = finished or key.fd == result_fd
        try:  # what was printed just before the end
            while data := os.read(output_fd, 65_536):
                kept[output_fd] = (kept[output_fd] + data)[-OUTPUT_BYTES:]
        except BlockingIOError:  # a survivor that cannot be killed still holds the pipe
            pass
    return kept[result_fd], kept[output_fd]
