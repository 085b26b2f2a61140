"""No secret leaves a real supervisor: neither its API nor its log, its events, its hooks, nor `doctor` shows one."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from stratpanel.client.connection import strategy_path
from stratpanel.model.errors import StratpanelError
from tests.api.real import RealSupervisor
from tests.support import pid_alive, wait_for

PAPER, LIVE, OTHER, STORED = "paper/Key+7461==", "live-Key-9182", "rsi only: 55 qq", "from the key store 1"
SECRETS = f"""
[paper]
BROKER_KEY = "{PAPER}"
STORED_KEY = "keyring:broker/paper"
[live]
BROKER_KEY = "{LIVE}"
[paper.rsi]
OWN = "{OTHER}"
"""
FAKE_KEYRING = f"""
import keyring.backend
class Keyring(keyring.backend.KeyringBackend):
    priority = 1
    def get_password(self, service, username):
        return {STORED!r}
    def set_password(self, service, username, password): ...
    def delete_password(self, service, username): ...
"""
TELLER = """
import base64, os, time, urllib.parse
for name in ("BROKER_KEY", "STORED_KEY"):
    value = os.environ[name]
    print("plain", value)
    print("url", urllib.parse.quote(value, safe=""), "base64", base64.b64encode(value.encode()).decode())
    print("basic", base64.b64encode(("me:" + value).encode()).decode(), repr(value), flush=True)
time.sleep(600)
"""
CRASHER = "import os, sys\nsys.exit('cannot log in with ' + os.environ['BROKER_KEY'])\n"


def forms(secret: str) -> set[str]:
    """A secret as a reader of an answer might find it."""
    data = secret.encode()
    plain = {secret, json.dumps(secret)[1:-1], quote(secret), quote(secret, safe="")}
    return plain | {base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()}


def shown_in(text: str, secrets: list[str]) -> list[str]:
    return [form for secret in secrets for form in forms(secret) if form in text]


pytestmark = pytest.mark.xdist_group("masking")  # one supervisor for all of them


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSupervisor]:
    """A supervisor with secrets of both sets, a key store, and a command that is told every event."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "store").mkdir()
    (folder / "store" / "fake_store.py").write_text(FAKE_KEYRING)
    (folder / "secrets.toml").write_text(SECRETS)
    (folder / "secrets.toml").chmod(0o600)
    before = {name: os.environ.get(name) for name in ("PYTHONPATH", "PYTHON_KEYRING_BACKEND")}
    os.environ["PYTHONPATH"] = str(folder / "store")
    os.environ["PYTHON_KEYRING_BACKEND"] = "fake_store.Keyring"
    try:
        real = RealSupervisor(folder, {"tell": TELLER, "crash": CRASHER})
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
    told = folder / "told"
    (folder / "stratpanel.toml").write_text(
        'timezone = "Asia/Kolkata"\n[on_event]\n'
        f'command = ["sh", "-c", "cat >> {told}; exit 3"]\ntypes = ["crash", "fatal", "lost", "missed_start"]\n'
    )
    real.api.post("/api/reload")
    token = real.api.connection()["token"]
    config = {
        "env": {"COPY": PAPER, "LIVE": f"x{LIVE}x", "PLAIN": "plain"},
        "args": ["--key", LIVE, base64.b64encode(PAPER.encode()).decode()],
        "notes": f"the token is {token}",
        "tags": ["fast"],
    }
    real.api.patch(strategy_path("tell"), config)
    real.act("tell", "start")
    wait_for(lambda: "base64" in (real.workspace / "log/strategies/tell.log").read_text(), 10)
    yield real
    real.close()


def everything(real: RealSupervisor) -> dict[str, str]:
    """All that the API, our own log and the database say, by place."""
    paths = ["/api/supervisor", "/api/strategies", "/api/events?limit=1000", "/metrics", "/api/health", "/api/week"]
    rest = ("", "/logs", "/runs", "/versions", "/parameters", "/usage", "/schedule/explain", "/live")
    paths += [strategy_path(id) + tail for id in ("tell", "crash") for tail in rest]
    found = {path: json.dumps(real.api.get(path), ensure_ascii=False) for path in paths}
    for event in real.api.stream("/api/mirror/stream"):
        found["mirror"] = json.dumps(event.data, ensure_ascii=False)
        break
    found["supervisor.log"] = real.runtime.supervisor_log.read_text(errors="replace")
    told = real.workspace / "told"
    found["hooks"] = told.read_text() if told.exists() else ""
    return found


def test_no_secret_is_shown_anywhere(real: RealSupervisor) -> None:
    secrets = [PAPER, LIVE, OTHER, STORED, *real.api.get("/api/token").values()]
    token = real.api.connection()["token"]
    real.api.patch(strategy_path("crash"), {"start_seconds": 1})
    with pytest.raises(StratpanelError) as failed:
        real.act("crash", "start")
    assert not shown_in(str(failed.value.to_json()), secrets)
    wait_for(lambda: (real.workspace / "told").exists(), 20, "a told event")
    wait_for(lambda: any(e["type"] == "hook" for e in real.api.get("/api/events")["events"]), 20, "the hook's failure")
    refused = []
    for ask in (
        lambda: real.api.get(f"/api/strategies/{quote(token)}"),
        lambda: real.api.get(f"/api/nothing/{quote(PAPER, safe='')}"),
        lambda: real.api.patch(strategy_path("tell"), {"schedule": {"windows": [{"start": LIVE, "stop": PAPER}]}}),
        lambda: real.api.patch(strategy_path("tell"), {PAPER: 1}),
        lambda: real.api.get(strategy_path("tell", "logs"), {"before": token}),
        lambda: real.api.post("/api/strategies", {"id": "x", "path": f"/nowhere/{LIVE}.py"}),
        lambda: real.api.post("/api/pause", {"why": f"because of {LIVE}"}),
        lambda: real.act("tell", "pause", {"why": PAPER}),
    ):
        try:
            ask()
        except StratpanelError as error:
            refused.append(str(error.to_json()))
    assert len(refused) == 6
    for place, text in {**everything(real), "errors": "\n".join(refused)}.items():
        assert not shown_in(text, secrets), place
    assert "***" in everything(real)[strategy_path("tell")]
    real.api.post("/api/resume", {"confirm": True})


def test_a_new_supervisor_hides_what_a_running_strategy_has(real: RealSupervisor) -> None:
    secrets = [PAPER, LIVE, OTHER, STORED, *real.api.get("/api/token").values()]
    assert real.status("tell")["state"] == "running"
    old = real.api.get("/api/supervisor")["pid"]
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: not pid_alive(old), 10)
    wait_for(lambda: real.api.reachable(), 20, "another supervisor", every=0.1)
    first = real.api.get(strategy_path("tell", "logs"))["lines"]
    assert not shown_in(json.dumps(first), secrets[:3]), "nothing was started by this supervisor yet"

    def stored_is_hidden() -> bool:
        return not shown_in(json.dumps(real.api.get(strategy_path("tell", "logs"))["lines"]), secrets)

    wait_for(stored_is_hidden, 15, "what the key store knows", every=0.1)
    for place, text in everything(real).items():
        assert not shown_in(text, secrets), place


def test_a_form_that_sends_the_mask_back_changes_nothing(real: RealSupervisor) -> None:
    shown = real.status("tell")["config"]
    assert shown["env"]["COPY"] == "***"
    real.api.patch(strategy_path("tell"), {"env": {**shown["env"], "PLAIN": "other"}, "args": shown["args"]})
    kept = json.loads((real.workspace / "strategies/strategy_configs.json").read_text())["tell"]
    assert kept["env"] == {"COPY": PAPER, "LIVE": f"x{LIVE}x", "PLAIN": "other"}
    assert kept["args"] == ["--key", LIVE, base64.b64encode(PAPER.encode()).decode()]


def test_doctor_shows_no_secret(real: RealSupervisor) -> None:
    (real.workspace / "secrets.toml").write_text(
        SECRETS + '[liev]\nX = "misplaced-value-1"\n5x = "misplaced-value-2"\n'
    )
    command = [sys.executable, "-m", "stratpanel", "-w", str(real.workspace), "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    text = done.stdout + done.stderr
    token = real.api.connection()["token"]
    assert not shown_in(text, [PAPER, LIVE, OTHER, STORED, token, "misplaced-value-1", "misplaced-value-2"])
    (real.workspace / "secrets.toml").write_text(SECRETS)


def test_a_fault_of_ours_is_logged_without_secrets(tmp_path: Path) -> None:
    program = (
        "import logging, sys, threading\n"
        "from pathlib import Path\n"
        "from stratpanel.supervisor.ownlog import start_log\n"
        "from stratpanel.supervisor.configuration.secrets import Secrets\n"
        "secrets = Secrets(Path('/nowhere')); secrets.remember(sys.argv[1]); start_log(secrets.mask)\n"
        "def fail(): raise ValueError(f'cannot use {sys.argv[1]!r}')\n"
        "try: fail()\n"
        "except ValueError: logging.getLogger('x').exception('a route with %s failed', sys.argv[1])\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()\n"
        "class Odd:\n"
        "    def __del__(self): fail()\n"
        "Odd()\n"
        "fail()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, 'it\'s "quoted"'], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 4
    assert done.stderr.count("ValueError: cannot use") == 4
    assert "quoted" not in done.stderr
