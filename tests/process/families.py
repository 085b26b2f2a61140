"""Strategies that make it hard to end them; each prints `up` when its whole family is there."""

from __future__ import annotations

HEAD = """
import os, signal, subprocess, sys, time

def sleeper(**how):
    return subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"], **how)

def wait_for_line(fd):
    assert os.read(fd, 1) == b"."
"""

CHILD = HEAD + "sleeper()\nprint('up')\nsignal.pause()"

GRANDCHILD = (
    HEAD
    + """
r, w = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        os.write(w, b".")
    signal.pause()
wait_for_line(r)
print("up")
signal.pause()
"""
)

# a daemon by the book: new session, forked twice, its parent gone, and deaf to SIGTERM
DAEMON = (
    HEAD
    + """
r, w = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(w, b".")
        while True:
            signal.pause()
    os._exit(0)
os.wait()
wait_for_line(r)
print("up")
signal.pause()
"""
)

# the leader obeys SIGTERM at once, a member of its group does not
DEAF_MEMBER = (
    HEAD
    + """
r, w = os.pipe()
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(w, b".")
    while True:
        signal.pause()
wait_for_line(r)
print("up")
signal.pause()
"""
)

# each process lives a millisecond or two, in a session of its own, and leaves a successor behind
RUNAWAY = (
    HEAD
    + """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    while True:
        os.setsid()
        if os.fork():
            os._exit(0)
os.wait()
print("up")
while True:
    signal.pause()
"""
)

# many at once that fork on
SWARM = (
    HEAD
    + """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _ in range(4):
    if os.fork() == 0:
        while True:
            if os.fork() == 0:
                time.sleep(0.05)
                os._exit(0)
            time.sleep(0.002)
print("up")
while True:
    time.sleep(1)
"""
)

STOPPED = (
    HEAD
    + """
child = sleeper()
os.kill(child.pid, signal.SIGSTOP)
print("up")
signal.pause()
"""
)

ALL = {
    "child": CHILD,
    "grandchild": GRANDCHILD,
    "setsid double fork, deaf": DAEMON,
    "deaf member, leader leaves first": DEAF_MEMBER,
    "runaway": RUNAWAY,
    "swarm": SWARM,
    "stopped member": STOPPED,
}
