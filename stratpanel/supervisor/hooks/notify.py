"""Sends one event to apprise addresses; a program of its own, run by `hooks.py` under the same limit as any hook.

Reads `{"event": …, "addresses": [...]}` on standard input: addresses hold tokens, so they are never arguments. To
import apprise costs more than the supervisor itself, so it happens here. Exit 0 when every address took the message.
"""

from __future__ import annotations

import json
import sys


def main() -> int:
    """Send what standard input says; a sentence on standard error for what failed."""
    given = json.load(sys.stdin)
    event = given["event"]
    try:
        import apprise
    except ImportError:
        print("the apprise package is not installed; run: pip install 'stratpanel[notify]'", file=sys.stderr)
        return 1
    messenger = apprise.Apprise()
    refused = [number for number, address in enumerate(given["addresses"], 1) if not messenger.add(address)]
    subject = " ".join(str(event[key]) for key in ("id", "type") if event.get(key))
    body = str(event.get("message") or event.get("type"))
    sent = bool(len(messenger)) and messenger.notify(
        title=f"stratpanel: {subject}", body=f"{body}\n{event.get('time', '')}"
    )
    for number in refused:
        print(f"address {number} of [on_event] notify is not one apprise knows", file=sys.stderr)
    if not sent:
        print("sending failed; try the address with `apprise -b test ADDRESS`", file=sys.stderr)
    return 0 if sent and not refused else 1


if __name__ == "__main__":
    sys.exit(main())
