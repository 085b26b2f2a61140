"""The `stratpanel` command: parses, calls one command, turns errors into one line and an exit code.

Exit codes are a contract: 0 done, 1 not done, 2 usage, 3 no supervisor can run, 4 unknown id. Nothing heavy is imported
before the command is known, since `status` is called from people's scripts many times a minute.
"""

from __future__ import annotations

import os
import sys

from stratpanel.cli.parser import parse
from stratpanel.model.errors import NotFound, StratpanelError

DONE, NOT_DONE, USAGE, NO_SUPERVISOR, UNKNOWN_ID = 0, 1, 2, 3, 4


def main(argv: list[str] | None = None) -> int:
    """Run one command; the value is the process's exit code."""
    for name in ("stdout", "stderr"):  # None when the caller closed it: `stratpanel … >&-`
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
    options = parse(sys.argv[1:] if argv is None else argv)
    try:
        return int(options.run(options))
    except StratpanelError as error:
        return report(error)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:  # `stratpanel logs ema | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def report(error: StratpanelError) -> int:
    """Print the error as one line (and one line for each bad field); return the exit code it stands for."""
    print(f"stratpanel: {error.message}", file=sys.stderr)
    for field, problem in error.fields.items():
        if problem not in error.message:  # of one field alone the message says it all
            print(f"  {field}: {problem}", file=sys.stderr)
    return exit_code(error)


def exit_code(error: StratpanelError) -> int:
    """The exit code of CONTRACTS for an error."""
    from stratpanel.client.connection import NoSupervisor

    if isinstance(error, NoSupervisor):
        return NO_SUPERVISOR
    if error.code in ("USAGE", "NO_WORKSPACE"):
        return USAGE
    if isinstance(error, NotFound) or error.code == "STRATEGY_NOT_FOUND":
        return UNKNOWN_ID
    return NOT_DONE
