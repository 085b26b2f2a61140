"""Kills log pumps at random moments while a strategy prints numbered lines, and starts the next at once.

Run as a program: `killer.py LOG MAX_BYTES KILLS SEED flood|lines`. Prints "printed N" with the number of lines the
strategy printed and "kills N"; the caller compares with what is in the files.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time

from stratpanel.process.logpump import LogPump

FLOOD = """
import os, signal, sys
going = True
def stop(*_):
    global going
    going = False
signal.signal(signal.SIGTERM, stop)
tail = " " + "x" * 89 + "\\n"
n = 0
while going:
    block = "".join(f"{i:09d}" + tail for i in range(n, n + 77)).encode()
    n += 77
    while block:
        block = block[os.write(1, block):]
os.write(2, b"%d" % n)
"""
LINES = """
import os, signal, time
going = True
def stop(*_):
    global going
    going = False
signal.signal(signal.SIGTERM, stop)
n = 0
while going:
    os.write(1, b"%09d " % n + b"x" * 89 + b"\\n")
    n += 1
    time.sleep(0.01)
os.write(2, b"%d" % n)
"""


def pump_for_ever(read_fd: int, log: str, max_bytes: int) -> None:
    pump = LogPump(read_fd, log, max_bytes, 10_000, required=False)
    poll = select.poll()
    poll.register(read_fd, select.POLLIN)
    while True:
        poll.poll()
        pump.pump()
        time.sleep(pump.suggest_pause())


def main(log: str, max_bytes: int, kills: int, seed: int, kind: str) -> None:
    chance = random.Random(seed)
    read_fd, write_fd = os.pipe()
    writer = subprocess.Popen(
        [sys.executable, "-c", FLOOD if kind == "flood" else LINES], stdout=write_fd, stderr=subprocess.PIPE
    )
    os.close(write_fd)
    select.select([read_fd], [], [])  # it prints: its signal handler is there
    for _ in range(kills):
        pid = os.fork()
        if pid == 0:
            try:
                pump_for_ever(read_fd, log, max_bytes)
            finally:
                os._exit(1)
        time.sleep(chance.uniform(0.0003, 0.012 if kind == "flood" else 0.04))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSIGNALED(status):
            raise SystemExit("a pump ended by itself")
    writer.terminate()
    last = LogPump(read_fd, log, max_bytes, 10_000, required=False)
    while not last.eof:
        select.select([read_fd], [], [])
        last.pump()
    last.close()
    print("printed", int(writer.communicate()[1]), "kills", kills)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
