"""`python -m benchmarks [NAME …] [--no-keep]`: run all but the long ones, or those named, and keep them in
RESULTS.md."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import signal
import sys
from pathlib import Path

from benchmarks.record import keep, machine, table

NOT_MEASUREMENTS = {"__main__", "record", "workspace", "pages", "plainpage"}
LONG = {"soak"}  # only when named: `make soak`


def names() -> list[str]:
    """The modules with a `measure()`."""
    return [m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)]) if m.name not in NOT_MEASUREMENTS]


def main() -> int:
    """Run and print; the exit code only says whether everything could be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names()))
    parser.add_argument("--no-keep", action="store_true", help="only print")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(names()))
    if unknown:
        parser.error(f"no such measurement: {', '.join(unknown)}")
    # An end by `timeout` or a service is an orderly one: what was started for the measurement is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    print(machine())
    for name in options.names or [name for name in names() if name not in LONG]:
        load = os.getloadavg()[0]
        rows = importlib.import_module(f"benchmarks.{name}").measure()
        print(f"\n## {name}\n\n{table(rows)}", flush=True)
        if not options.no_keep:
            keep(name, rows, load)
    return 0


if __name__ == "__main__":
    sys.exit(main())
