"""What a strategy finds around it: its own environment, descriptors, limits and signals, and nothing of ours."""

from __future__ import annotations

import os
import resource
import signal

from tests.process.bench import MARK, Bench, said
from tests.support import wait_for

PROBE = """
import json, os, resource, signal, sys
fds = {}
for name in os.listdir("/proc/self/fd"):
    try:
        fds[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        pass
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
print(json.dumps({
    "env": dict(os.environ), "fds": fds, "cwd": os.getcwd(),
    "pid": os.getpid(), "sid": os.getsid(0), "pgrp": os.getpgrp(),
    "nofile": resource.getrlimit(resource.RLIMIT_NOFILE), "core": resource.getrlimit(resource.RLIMIT_CORE),
    "nice": os.nice(0), "oom": int(open("/proc/self/oom_score_adj").read()),
    "blocked": int(status["SigBlk"], 16), "ignored": int(status["SigIgn"], 16),
    "stdin": sys.stdin.read(), "subreaper": None,
}))
"""


def probe(bench: Bench, **more: object) -> dict[str, object]:
    line = bench.start(PROBE, **more)
    assert line.exit()["exit_code"] == 0, bench.log()
    return dict(said(bench.log())[-1])


def test_nothing_of_ours_leaks_in(bench: Bench) -> None:
    bench.launch()
    # others run too, so that there is something to leak
    for n in range(3):
        bench.start("import signal; signal.pause()", id=f"other{n}")
    found = probe(bench)
    run_id = bench.status()["run_id"]
    assert found["env"] == {
        "PATH": os.environ["PATH"],
        MARK: bench.mark,
        "STRATPANEL_RUN_ID": run_id,
        "LC_CTYPE": "C.UTF-8",
    }
    fds = {int(n): str(target) for n, target in dict(found["fds"]).items()}  # type: ignore[call-overload]
    pipe = f"pipe:[{bench.status()['pipe_inode']}]"
    assert fds.pop(0) == "/dev/null"
    assert fds.pop(1) == fds.pop(2) == fds.pop(bench.status()["spare_fd"]) == pipe
    assert fds.pop(198) == str(bench.runtime.run_lock("ema"))
    assert fds == {}
    assert found["stdin"] == ""
    assert found["cwd"] == str(bench.runtime.workspace)
    assert found["sid"] == found["pgrp"] == found["pid"]


def test_limits_and_signals_are_a_plain_programs(bench: Bench) -> None:
    bench.launch()
    found = probe(bench, nofile=512, nice=3, oom_score_adj=700)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert found["nofile"] == [512, hard]
    assert found["core"] == [0, 0]
    assert found["nice"] == 3
    assert found["oom"] == 700
    assert found["blocked"] == 0
    # Python itself ignores SIGPIPE and SIGXFSZ; 32 and 33 are the C library's own, as whoever started us left them
    assert int(str(found["ignored"])) & ~(0b11 << 31) == 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)


def test_a_program_that_is_not_python_dies_of_a_closed_pipe_as_usual(bench: Bench) -> None:
    bench.launch()
    spec = bench.spec("")
    line, _ = bench.spawn({**spec, "argv": ["/bin/sh", "-c", "kill -PIPE $$"]})
    assert line.exit()["signal"] == "SIGPIPE"


def test_a_launcher_of_many_runs_hands_on_the_right_descriptors(bench: Bench) -> None:
    """Past 198 descriptors the numbers that strategies get collide with the launcher's own."""
    bench.launch()
    for n in range(110):
        bench.start("import signal; print('I am', __import__('os').getpid(), flush=True); signal.pause()", id=f"s{n}")
    for n in range(110):
        leader = bench.status(f"s{n}")["leader"]["pid"]
        wait_for(lambda n=n, leader=leader: bench.log(f"s{n}") == f"I am {leader}\n", what=f"the line of s{n}")
    found = probe(bench)
    assert sorted(int(n) for n in dict(found["fds"])) == [0, 1, 2, 198, 199]  # type: ignore[call-overload]
