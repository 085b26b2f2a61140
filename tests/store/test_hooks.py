"""Hooks: told once per event, one at a time, bounded in time and number, and nothing they start survives them."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stratpanel.supervisor.configuration.secrets import Secrets
from stratpanel.supervisor.configuration.settings import ALERTS, OnEvent
from stratpanel.supervisor.hooks.hooks import OUTPUT_BYTES, Hooks, _collect
from tests.support import pids_marked, wait_for

MakeHooks = Callable[..., Hooks]


class Reports(list[dict[str, object]]):
    """Events of type `hook` that came back."""

    @property
    def text(self) -> str:
        return " | ".join(str(report["message"]) for report in self)


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def make(tmp_path: Path, reports: Reports) -> Iterator[MakeHooks]:
    made: list[Hooks] = []

    def make(*command: str, **options: object) -> Hooks:
        on_event = OnEvent(command, options.pop("types", ALERTS), options.pop("notify", ()))  # type: ignore[arg-type]
        hooks = Hooks(on_event, workspace=tmp_path, report=reports.append, **options)  # type: ignore[arg-type]
        made.append(hooks)
        return hooks

    yield make
    for hooks in made:
        hooks.close()


def python(program: str) -> tuple[str, str, str]:
    return (sys.executable, "-c", program)


def test_the_event_arrives_as_json_on_standard_input(make: MakeHooks, tmp_path: Path, reports: Reports) -> None:
    hooks = make(
        "sh",
        "-c",
        'cat > "$STRATPANEL_WORKSPACE/got.json"; echo "$STRATPANEL_EVENT $MINE $PWD" > env',
        env={"MINE": "yes"},
    )
    event = {"type": "crash", "id": "ema", "message": "died: é", "time": "2026-11-22T09:20:00+05:30", "exit_code": 3}
    assert hooks.offer(event)
    hooks.close()
    assert json.loads((tmp_path / "got.json").read_text()) == event
    assert (tmp_path / "env").read_text().split() == ["crash", "yes", str(tmp_path)]
    assert reports == []


def test_only_the_types_asked_for_and_never_its_own_failures(make: MakeHooks) -> None:
    hooks = make("true", types=("crash", "hook"))
    assert hooks.offer({"type": "crash"})
    assert not hooks.offer({"type": "fatal"})
    assert not hooks.offer({"type": "hook"})
    assert not make().offer({"type": "crash"})  # nobody to tell


def test_one_at_a_time_in_order(make: MakeHooks, tmp_path: Path, reports: Reports) -> None:
    program = """
        import json, os, sys
        n = json.load(sys.stdin)["n"]
        fd = os.open("busy", os.O_CREAT | os.O_EXCL)
        open("order", "a").write(f"{n} ")
        os.unlink("busy")
    """
    hooks = make(*python("\n".join(line[8:] for line in program.splitlines())))
    for n in range(8):
        hooks.offer({"type": "crash", "n": n})
    hooks.close(30)
    assert (tmp_path / "order").read_text() == "0 1 2 3 4 5 6 7 "
    assert reports == []


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("sh", "-c", "echo no network >&2; exit 7"), "ended with 7; it said: no network"),
        (("sh", "-c", "kill -9 $$"), "ended with -9"),
        (("/nowhere/notify", "x"), "cannot start /nowhere/notify: no such file or directory"),
        (("/etc/passwd",), "permission denied"),
    ],
)
def test_a_failure_is_reported_as_an_event(
    make: MakeHooks, reports: Reports, command: tuple[str, ...], says: str
) -> None:
    hooks = make(*command)
    hooks.offer({"type": "crash", "id": "ema"})
    hooks.close()
    (report,) = reports
    assert says in str(report["message"])
    assert (report["type"], report["id"]) == ("hook", "ema")


TREES = {
    "hangs": "import time; time.sleep(60)",
    "ignores TERM": "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)",
    "a child": "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])",
    "a child in its own session, leader gone": (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)"
    ),
    "a daemon without environment": """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve(sys.executable, [sys.executable, "-S", "-c", "import time; time.sleep(60)", MARK], {})
    os._exit(0)
""",
    "forks while it is killed": """
import os, time
for _ in range(4):
    os.fork()
while True:
    if os.fork() == 0:
        time.sleep(0.02)
        os._exit(0)
    time.sleep(0.01)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]: pass
    except ChildProcessError: pass
""",
}


@pytest.mark.parametrize("kind", TREES)
def test_the_whole_tree_is_gone_after_the_limit(make: MakeHooks, tmp_path: Path, reports: Reports, kind: str) -> None:
    mark = f"hook-of-{tmp_path}"
    hooks = make(*python(f"MARK = {mark!r}\n{TREES[kind]}"), env={"HOOK_MARK": mark}, limit_s=0.5)
    started = time.monotonic()
    hooks.offer({"type": "crash"})
    wait_for(lambda: reports, what="the report of the kill")
    assert "killed after 0.5 s" in reports.text
    assert time.monotonic() - started < 8
    assert pids_marked(mark) == []


def test_a_daemon_that_no_look_at_the_process_table_shows_is_waited_for_and_killed(tmp_path: Path) -> None:
    """It was forked, and its parent ended, while the table was read."""
    mark = f"hook-of-{tmp_path}"
    daemon = f"MARK = {mark!r}\n{TREES['a daemon without environment']}"
    blind = f"""
import sys
from stratpanel.supervisor.hooks import shim
shim.descendants = lambda: []
open({str(tmp_path / "answer")!r}, "w").write(repr(shim.run(0.5, [sys.executable, "-c", {daemon!r}])))
"""
    try:
        subprocess.run([sys.executable, "-c", blind], timeout=30, check=True)
        # blind as it is, it cannot find what it waits for; but it does not say that nothing is left
        assert "'killed': True" in (tmp_path / "answer").read_text()
    finally:
        for pid in pids_marked(mark):
            os.kill(pid, signal.SIGKILL)


def test_what_a_command_leaves_behind_may_finish_within_the_limit(
    make: MakeHooks, tmp_path: Path, reports: Reports
) -> None:
    hooks = make("sh", "-c", "(sleep 0.3; echo sent > sent) & exit 0")
    hooks.offer({"type": "crash"})
    hooks.close()
    assert (tmp_path / "sent").exists()
    assert reports == []


def test_nothing_of_ours_reaches_the_command(make: MakeHooks, tmp_path: Path) -> None:
    keep = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(keep, True)
    hooks = make(*python("import os; open('fds', 'w').write(' '.join(sorted(os.listdir('/proc/self/fd'))))"))
    hooks.offer({"type": "crash"})
    hooks.close()
    os.close(keep)
    descriptors = (tmp_path / "fds").read_text().split()
    assert set(descriptors) <= {"0", "1", "2", "3", "4"}  # 3 and 4: the program's own file and folder
    blocked = make("sh", "-c", "grep SigBlk /proc/self/status > mask")
    blocked.offer({"type": "crash"})
    blocked.close()
    assert int((tmp_path / "mask").read_text().split()[1], 16) == 0


def test_a_command_that_floods_or_never_reads_holds_nobody_up(make: MakeHooks, reports: Reports) -> None:
    hooks = make(*python("print('x' * 50_000_000, 'the end', flush=True); raise SystemExit(3)"))
    hooks.offer({"type": "crash", "message": "m" * 1_000_000})
    hooks.close(30)
    assert "the end" in reports.text
    assert len(reports.text) < 2000


def test_of_what_a_command_prints_only_the_end_is_held(tmp_path: Path) -> None:
    result_read, result_write = os.pipe()
    output_read, output_write = os.pipe()

    def print_much() -> None:
        for n in range(200):
            os.write(output_write, f"{n:03}".encode() + b"x" * 50_000)
        os.write(output_write, b"the end")
        os.write(result_write, b"{}")
        os.close(result_write)
        os.close(output_write)

    printer = threading.Thread(target=print_much)
    printer.start()
    result, output = _collect(result_read, output_read, 30)
    printer.join()
    os.close(result_read)
    os.close(output_read)
    assert result == b"{}"
    assert output.endswith(b"the end")
    assert len(output) == OUTPUT_BYTES


def test_too_many_waiting_are_dropped_and_counted(make: MakeHooks, tmp_path: Path, reports: Reports) -> None:
    hooks = make("sh", "-c", "while [ ! -e go ]; do sleep 0.01; done")
    taken = sum(hooks.offer({"type": "crash"}) for _ in range(1000))
    assert 200 <= taken <= 202
    hooks.configure(OnEvent(("true",)), {})
    (tmp_path / "go").touch()
    wait_for(lambda: reports, what="the count of what was dropped")
    assert f"{1000 - taken} events were not told" in reports.text


def test_offering_never_waits(make: MakeHooks) -> None:
    hooks = make("sleep", "5", limit_s=0.2)
    started = time.monotonic()
    for _ in range(500):
        hooks.offer({"type": "crash"})
    assert time.monotonic() - started < 1
    hooks.close(0.1)
    wait_for(lambda: not hooks._thread.is_alive(), what="the end of the thread, with 199 events untold")


def test_secrets_are_masked_in_and_out(make: MakeHooks, tmp_path: Path, reports: Reports) -> None:
    secrets = Secrets(tmp_path / "secrets.toml")
    secrets.remember("hunter2hunter2")
    hooks = make("sh", "-c", "tee got; exit 1", mask=secrets.mask)
    hooks.offer({"type": "crash", "message": "login with hunter2hunter2 failed"})
    hooks.close()
    assert "login with *** failed" in (tmp_path / "got").read_text()
    assert "hunter2" not in reports.text


def test_an_event_stays_json_whatever_a_secret_is(make: MakeHooks, tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "secrets.toml")
    secrets.remember('", "', "message", '{"type"')
    hooks = make("sh", "-c", "cat > got", mask=secrets.mask)
    hooks.offer({"type": "crash", "message": 'one", "two', "strategy": {"why": "a message"}})
    hooks.close()
    told = json.loads((tmp_path / "got").read_text())
    assert told == {"type": "crash", "message": "one***two", "strategy": {"why": "a ***"}}


FAKE_APPRISE = """
import json, os
class Apprise:
    def __init__(self): self.urls = []
    def add(self, url):
        if url.startswith("bad"): return False
        self.urls.append(url); return True
    def __len__(self): return len(self.urls)
    def notify(self, title, body):
        with open("sent.json", "w") as file: json.dump({"urls": self.urls, "title": title, "body": body}, file)
        return "fail" not in self.urls[0]
"""


@pytest.fixture
def fake_apprise(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "fakes").mkdir()
    (tmp_path / "fakes" / "apprise.py").write_text(FAKE_APPRISE)
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path / "fakes"), *sys.path])}


def test_addresses_get_a_sentence(
    make: MakeHooks, tmp_path: Path, reports: Reports, fake_apprise: dict[str, str]
) -> None:
    hooks = make(notify=("phone",), env=fake_apprise, address={"phone": "tgram://token/chat"}.__getitem__)
    hooks.offer({"type": "crash", "id": "ema", "message": "died", "time": "2026-11-22T09:20:00+05:30"})
    hooks.close()
    sent = json.loads((tmp_path / "sent.json").read_text())
    assert sent["urls"] == ["tgram://token/chat"]
    assert sent["title"] == "stratpanel: ema crash"
    assert sent["body"] == "died\n2026-11-22T09:20:00+05:30"
    assert reports == []


@pytest.mark.parametrize(("url", "says"), [("bad://x", "not one apprise knows"), ("fail://x", "sending failed")])
def test_addresses_that_fail_are_reported_without_their_tokens(
    make: MakeHooks, reports: Reports, fake_apprise: dict[str, str], url: str, says: str
) -> None:
    hooks = make(notify=("phone",), env=fake_apprise, address=lambda _name: f"{url}/hunter2")
    hooks.offer({"type": "crash"})
    hooks.close()
    assert says in reports.text
    assert "hunter2" not in reports.text


def test_an_unknown_name_of_an_address_is_reported(make: MakeHooks, tmp_path: Path, reports: Reports) -> None:
    hooks = make(notify=("phone",), address=Secrets(tmp_path / "secrets.toml").notify_address)
    hooks.offer({"type": "crash"})
    hooks.close()
    assert 'no address "phone"' in reports.text


def test_closing_leaves_no_thread(make: MakeHooks) -> None:
    hooks = make("true")
    hooks.offer({"type": "crash"})
    hooks.close()
    assert not hooks.offer({"type": "crash"})
    assert not [thread for thread in threading.enumerate() if thread is hooks._thread]


def test_a_real_address_is_really_told(make: MakeHooks, reports: Reports) -> None:
    """Through the apprise package itself, to a web server of ours."""
    pytest.importorskip("apprise")
    bodies: list[dict[str, object]] = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with http.server.HTTPServer(("127.0.0.1", 0), Listener) as server:
        listening = threading.Thread(target=server.serve_forever)
        listening.start()
        hooks = make(notify=(f"json://127.0.0.1:{server.server_port}/",), limit_s=60)
        hooks.offer({"type": "fatal", "id": "ema", "message": "gave up"})
        wait_for(lambda: bodies or reports, timeout=60, what="the message")
        server.shutdown()
        listening.join()
    assert reports == []
    assert bodies[0]["title"] == "stratpanel: ema fatal"
    assert str(bodies[0]["message"]).startswith("gave up")
