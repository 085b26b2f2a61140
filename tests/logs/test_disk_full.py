"""On a full disk the strategy goes on, what is dropped is counted to the byte, and the log says so afterwards.

The disk is a small tmpfs in a mount namespace of a child process, so nothing stays mounted whatever happens.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.logs.support import numbered_lines

ROOT = Path(__file__).resolve().parents[2]

IN_NAMESPACE = """
import json, os, re, subprocess, sys, time
from pathlib import Path
from stratpanel.process import logpump
from stratpanel.process.logpump import LogPump
from stratpanel.supervisor.logs.reader import LogReader
from tests.logs.support import content, files

disk = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(disk)], check=True)
"""

CHILD = (
    IN_NAMESPACE
    + """
log = disk / "ema.log"
logpump.RETRY_S = 0.02
filler = disk / "filler"
filler.write_bytes(b"f" * 150_000)
strategy = subprocess.Popen([sys.executable, "-u", "-c", '''
import sys
tail = " " + "x" * 89
for n in range(4600):
    sys.stdout.write(f"{n:09d}{tail}\\\\n")
    if n == 3999:
        sys.stdin.readline()
'''], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
pump = LogPump(strategy.stdout.fileno(), log, 10 << 20, 5)
taken = 0
deadline = time.monotonic() + 60
def pump_until(done):
    global taken
    while not done():
        assert time.monotonic() < deadline, (taken, pump)
        moved = pump.pump()
        taken += moved
        if not moved:
            time.sleep(0.001)
# It printed 400,000 bytes, blocks for nothing of ours, lives.
pump_until(lambda: taken == 400_000)
alive = strategy.poll() is None
dropped_full = pump.dropped_bytes
times = os.path.getsize(str(log) + ".times")
successor = LogPump(strategy.stdout.fileno(), log, 10 << 20, 5, dropped_bytes=pump.dropped_bytes, required=False)
if sys.argv[2] == "kill":
    pump = successor
    pump._unsaid = 0
else:
    successor.close()
filler.unlink()
deadline_room = time.monotonic() + 0.05
pump_until(lambda: time.monotonic() > deadline_room)
strategy.stdin.write(b"go on\\n")
strategy.stdin.close()
pump_until(lambda: pump.eof)
pump.close()
kept = content(log).decode()
marks = re.findall(r"\\n?\\[stratpanel\\] dropped (\\d+) bytes of output here: ([^\\n]*)\\n", kept)
ours = sum(len(m.group()) for m in re.finditer(r"\\n?\\[stratpanel\\] dropped [^\\n]*\\n", kept))
print(json.dumps({
    "alive": alive, "exit": strategy.wait(), "taken": taken, "kept": len(kept), "ours": ours, "marks": marks,
    "dropped": pump.dropped_bytes, "dropped_full": dropped_full, "head": kept[:100], "tail": kept[-100:],
    "lines": len(LogReader(log).tail(10000).lines), "newlines": kept.count("\\n"),
}))
"""
)

ROTATING = (
    IN_NAMESPACE
    + """
log = disk / "ema.log"
logpump.RETRY_S = 0.01
read_fd, write_fd = os.pipe()
pump = LogPump(read_fd, log, 20_000, 99)
printed = 0
for n in range(200):
    os.write(write_fd, b"%099d\\n" % n * 50)
    printed += 5000
    pump.drain()
    if n % 80 == 79:
        for path in files(log)[:-3]:
            path.unlink()
        until = time.monotonic() + 0.03
        while time.monotonic() < until:
            pump.pump()
print(json.dumps({"dropped": pump.dropped_bytes, "printed": printed, "pump": repr(pump)}))
"""
)


def in_namespace(code: str, disk: Path, *args: str) -> dict[str, object]:
    command = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no mount namespace to be had here: {error}")
    done = subprocess.run(
        [*command, sys.executable, "-c", code, str(disk), *args], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    if "mount:" in done.stderr:
        pytest.skip(f"tmpfs cannot be mounted here: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("kind", ["stay", "kill"])
def test_a_full_disk_is_outlived_and_counted_to_the_byte(kind: str, tmp_path: Path) -> None:
    got = in_namespace(CHILD, tmp_path, kind)
    assert got["alive"]
    assert got["exit"] == 0
    assert got["taken"] == 460_000
    kept, ours, dropped = (int(str(got[name])) for name in ("kept", "ours", "dropped"))
    assert kept - ours + dropped == 460_000
    assert dropped >= 150_000
    assert got["head"] == numbered_lines(0, 1).decode()
    assert got["tail"] == numbered_lines(4599, 1).decode()
    assert got["lines"] == got["newlines"]
    marks = got["marks"]
    assert isinstance(marks, list)
    if kind == "stay":
        assert marks
        assert sum(int(count) for count, _ in marks) == got["dropped"]
        assert {why for _, why in marks} == {"no space left on the disk"}


def test_rotating_on_a_full_disk_never_raises(tmp_path: Path) -> None:
    got = in_namespace(ROTATING, tmp_path)
    assert got["printed"] == 1_000_000
    assert isinstance(got["dropped"], int)
    assert 0 < got["dropped"] < 1_000_000
