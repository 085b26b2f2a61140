"""A pump that dies at random steps of its rotations, again and again, while a strategy prints 50 MB.

Run as a program: `stumbler.py LOG MAX_BYTES KEEP LINES SEED`; prints how often it died. The strategy's lines are those
of `tests.logs.support.numbered_lines`.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time

from stratpanel.process import logfiles
from stratpanel.process.logpump import LogPump

STRATEGY = """
import os, sys
tail = " " + "x" * 89 + "\\n"
for first in range(0, int(sys.argv[1]), 50):
    block = "".join(f"{i:09d}" + tail for i in range(first, first + 50)).encode()
    while block:
        block = block[os.write(1, block):]
"""


def main(log: str, max_bytes: int, keep: int, lines: int, seed: int) -> None:
    chance = random.Random(seed)
    read_fd, write_fd = os.pipe()
    writer = subprocess.Popen([sys.executable, "-c", STRATEGY, str(lines)], stdout=write_fd)
    os.close(write_fd)
    deaths = 0
    while True:
        steps = chance.randrange(1, 120)
        pid = os.fork()
        if pid == 0:
            try:
                left = steps

                def stumble(_: str) -> None:
                    nonlocal left
                    left -= 1
                    if left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)

                logfiles.on_step = stumble
                pump = LogPump(read_fd, log, max_bytes, keep, required=False)
                while not pump.eof:
                    select.select([read_fd], [], [])
                    pump.pump()
                    time.sleep(pump.suggest_pause())
                pump.close()
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            deaths += 1
        elif os.WEXITSTATUS(status):
            raise SystemExit("a pump failed")
        else:
            break
    writer.wait()
    print(deaths)


if __name__ == "__main__":
    main(sys.argv[1], *(int(word) for word in sys.argv[2:]))
