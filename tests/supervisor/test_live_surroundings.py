"""What a strategy finds around it when all of us start it: interpreter, folder, arguments, limits, nothing else."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.supervisor.house import TICKER, House
from tests.support import pid_alive, pids_marked, wait_for

PROBE = """
import json, os, resource, signal, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
umask = os.umask(0); os.umask(umask)
fds = {}
for name in os.listdir("/proc/self/fd"):
    try:
        fds[name] = os.readlink("/proc/self/fd/" + name)
    except OSError:
        pass
print(json.dumps({
    "argv": sys.argv[1:], "file": os.path.abspath(__file__), "cwd": os.getcwd(), "umask": umask, "fds": fds,
    "python": sys.executable, "prefix": sys.prefix, "path": sys.path[:3], "env": dict(os.environ),
    "nofile": resource.getrlimit(resource.RLIMIT_NOFILE)[0], "core": resource.getrlimit(resource.RLIMIT_CORE),
    "as": resource.getrlimit(resource.RLIMIT_AS), "nproc": resource.getrlimit(resource.RLIMIT_NPROC),
    "cpu": resource.getrlimit(resource.RLIMIT_CPU), "nice": os.nice(0),
    "blocked": int(status["SigBlk"], 16), "ignored": int(status["SigIgn"], 16),
}))
"""

ALLOWED = {
    *("PATH", "HOME", "USER", "LANG", "TZ", "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *("CURL_CA_BUNDLE", "PYTHONUNBUFFERED", "PYTHONPYCACHEPREFIX", "PYTHONPATH", "STRATEGY_ID", "STRATEGY_NAME"),
    *("STRATEGY_DIR", "STRATEGY_STATE_DIR", "SP_MODE", "STRATPANEL_RUN_ID", "STRATPANEL_LIVE_FILE"),
    *("STRATPANEL_STOP_REASON", "OPENALGO_HOST", "OPENALGO_APIKEY", "MINE", "ALL_PROXY", "NO_PROXY"),
}


def probe(house: House, id: str = "look", **config: Any) -> dict[str, Any]:
    if not (house.workspace / "strategies/scripts" / f"{id}.py").exists():
        house.add(id, PROBE, **config)
    else:
        house.ok("PATCH", f"/api/strategies/{id}", config)
    house.ok("POST", f"/api/strategies/{id}/start", {})
    house.reach(id, "exited")
    return dict(json.loads(house.lines(id)[-1]))


def test_a_strategy_finds_what_contracts_say_and_nothing_of_ours(house: House) -> None:
    os.environ["STRATPANEL_TEST_LEAK"] = os.environ["PYTHONLEAK"] = "leak"
    try:
        house.up()
    finally:
        del os.environ["STRATPANEL_TEST_LEAK"], os.environ["PYTHONLEAK"]
    for n in range(3):
        house.add(f"other{n}")
        house.ok("POST", f"/api/strategies/other{n}/start", {})
    here = os.umask(0)
    os.umask(here)
    found = probe(house, env={"MINE": "1"}, args=["--bars", "5"])
    root = str(house.workspace)
    names = {n for n in found["env"] if not n.startswith(("LC_", "CONDA_")) and not n.lower().endswith("_proxy")}
    assert {n for n in names if not n.endswith("_THREADS")} <= ALLOWED
    assert found["argv"] == ["--bars", "5"]
    assert found["cwd"] == root
    assert found["file"].startswith(f"{root}/strategies/versions/look/1-"), "the deployed copy runs"
    assert found["path"][0] == str(Path(found["file"]).parent)
    assert found["path"][1] == f"{root}/strategies/scripts"
    assert set(found["fds"]) == {"0", "1", "2", "198", "199"}
    assert found["fds"]["0"] == "/dev/null"
    assert found["fds"]["198"].endswith("runs/look/run.lock")
    assert found["fds"]["1"] == found["fds"]["2"] == found["fds"]["199"]
    assert found["umask"] == here
    assert found["blocked"] == 0
    # Python's own SIGPIPE and SIGXFSZ; 32 and 33 are the C library's
    assert found["ignored"] & ~(0b11 << 31) == 1 << 12 | 1 << 24
    assert (found["nofile"], found["core"], found["nice"]) == (1024, [0, 0], 0)
    assert found["as"] == found["cpu"] == [-1, -1], "no limit that breaks NumPy or kills without a word"
    assert found["nproc"] == list(resource.getrlimit(resource.RLIMIT_NPROC))


def test_interpreter_folder_arguments_and_nice_are_the_strategys_own(house: House, tmp_path: Path) -> None:
    house.up()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(house.workspace / "own")], check=True)
    (house.workspace / "data").mkdir()
    by_folder = probe(house, interpreter="own", cwd="data", limits={"nice": 4, "nofile": 300})
    assert by_folder["prefix"] == by_folder["env"]["VIRTUAL_ENV"] == str(house.workspace / "own")
    assert by_folder["env"]["PATH"].startswith(str(house.workspace / "own/bin") + ":")
    assert by_folder["cwd"] == str(house.workspace / "data")
    assert (by_folder["nice"], by_folder["nofile"]) == (4, 300)
    by_path = probe(house, interpreter=str(house.workspace / "own/bin/python3"), cwd=None, limits={})
    assert by_path["prefix"] == str(house.workspace / "own")
    assert probe(house, interpreter=None)["prefix"] == sys.prefix
    code, answer = house.call("PATCH", "/api/strategies/look", {"interpreter": "nowhere/python"})
    if code == 200:  # it may come to exist; then the start says it
        code, answer = house.call("POST", "/api/strategies/look/start", {})
    assert code == 422
    assert "nowhere/python" in answer["message"]


def test_a_folder_with_main_runs_as_it_is(house: House) -> None:
    house.up()
    folder = house.workspace / "strategies/scripts/pair"
    folder.mkdir()
    (folder / "main.py").write_text("import legs, sys\nprint(legs.both(), sys.argv[1:])\n")
    (folder / "legs.py").write_text("def both():\n    return open(__file__.replace('legs.py', 'a.csv')).read()\n")
    (folder / "a.csv").write_text("1;2")
    house.ok("POST", "/api/strategies", {"id": "pair", "path": "pair"})
    house.ok("POST", "/api/strategies/pair/start", {"args": ["x"]})
    assert house.reach("pair", "exited")["exit_code"] == 0, house.lines("pair")
    assert house.lines("pair") == ["1;2 ['x']"]


def test_numpy_with_threads_works_under_default_limits(house: House) -> None:
    source = (
        "import numpy, threading\n"
        "done = []\n"  # gathered: forty threads that print at once tear each other's lines
        "def work():\n    a = numpy.random.default_rng(1).random((600, 600))\n    done.append((a @ a).sum() > 0)\n"
        "threads = [threading.Thread(target=work) for _ in range(40)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "print(len(done), all(done))\n"
    )
    house.up().add("sums", source)
    house.ok("POST", "/api/strategies/sums/start", {})
    assert house.reach("sums", "exited", timeout=60)["exit_code"] == 0, house.lines("sums")
    assert house.lines("sums") == ["40 True"]


def test_shared_memory_counts_once(house: House) -> None:
    """Five processes that share 60 MB are 360 MB of RSS; their limit of 200 is not reached."""
    source = (
        "import os, signal\n"
        "shared = bytearray(os.urandom(1 << 20)) * 60\n"
        "for _ in range(5):\n"
        "    if os.fork() == 0:\n        sum(shared[::4096]); print('read', flush=True); signal.pause()\n"
        "signal.pause()\n"
    )
    house.up().add("share", source, limits={"memory_mb": 200})
    house.ok("POST", "/api/strategies/share/start", {})
    wait_for(lambda: len(house.lines("share")) == 5, 20, "the children")
    seen = []

    def five_samples() -> bool:
        usage = house.ok("GET", "/api/strategies/share/usage")
        seen[:] = [mb for mb in usage["memory_mb"] if mb is not None]
        return len(seen) >= 5

    wait_for(five_samples, 30, "five samples", every=0.5)
    assert house.status("share")["state"] == "running"
    assert 55 < seen[-1] < 160, seen


def test_fifty_stops_are_not_held_up_by_the_one_that_does_not_listen(house: House) -> None:
    house.up()
    quiet = "import signal; signal.pause()"
    deaf = (
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\nwhile True: signal.pause()\n"
    )
    ids = [f"s{n:02}" for n in range(49)]
    for id in ids:
        house.add(id, quiet)
    house.add("deaf", deaf, grace_s=2.0)
    ended: dict[str, float] = {}

    def stop(id: str) -> None:
        assert house.ok("POST", f"/api/strategies/{id}/stop")["strategy"]["state"] == "stopped"
        ended[id] = time.monotonic()

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(lambda id: house.ok("POST", f"/api/strategies/{id}/start", {}), [*ids, "deaf"]))
        wait_for(lambda: house.lines("deaf"), 10, "its line")
        begun = time.monotonic()
        list(pool.map(stop, ["deaf", *ids]))
    assert max(ended, key=lambda id: ended[id]) == "deaf", "49 were done while one let its grace go by"
    assert ended["deaf"] - begun > 2.0
    assert house.status("deaf")["signal"] == "SIGKILL"
    assert not pids_marked(f"STRATEGY_STATE_DIR={house.workspace}/")


def test_a_workspace_three_hundred_characters_deep(tmp_path: Path) -> None:
    house = House(tmp_path / ("d" * 100) / ("e" * 100) / ("f" * 100))
    try:
        house.up().add("ema", TICKER)
        pid = house.ok("POST", "/api/strategies/ema/start", {})["strategy"]["pid"]
        first = house.answers()["pid"]
        house.kill(first)
        wait_for(lambda: house.answers()["pid"] != first, 20, "a new supervisor")
        assert house.reach("ema", "running")["pid"] == pid
        assert house.ok("POST", "/api/strategies/ema/stop")["strategy"]["state"] == "stopped"
        assert not pid_alive(pid)
    finally:
        house.close()


def test_two_ups_and_three_connects_at_once_give_one_supervisor(house: House) -> None:
    up = [sys.executable, "-m", "stratpanel", "-w", str(house.workspace), "up"]
    connect = f"import stratpanel; print(stratpanel.connect({str(house.workspace)!r}).supervisor['pid'])"
    commands = [up, [sys.executable, "-c", connect], up, *[[sys.executable, "-c", connect]] * 2]
    running = [subprocess.Popen(c, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for c in commands]
    outputs = [process.communicate(timeout=60) for process in running]
    assert [process.returncode for process in running] == [0] * 5, outputs
    pid = house.answers()["pid"]
    assert all(str(pid) in out for out, _ in outputs), (pid, outputs)
    ours = [p for p in pids_marked(str(house.workspace)) if b"stratpanel.supervisor" in cmdline(p)]
    assert ours == [pid]
    assert pid_alive(house.answers()["launcher_pid"])


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has just left, as the losers do
        return b""
