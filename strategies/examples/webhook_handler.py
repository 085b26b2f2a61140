"""Listens for alerts (TradingView and the like) and turns each into a paper order line in the log.

Arguments: --port 5055 (0 = any free one)
POST JSON such as {"action": "BUY", "symbol": "RELIANCE", "quantity": 1}. Loopback only; put your own proxy with
authentication in front. The port is free again as soon as the strategy is stopped.
"""

from __future__ import annotations

import argparse
import json
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MAX_BODY = 64 * 1024


def order_of(body: bytes) -> str:
    """The order line for an alert's body; ValueError says what is wrong with it."""
    alert = json.loads(body)
    if not isinstance(alert, dict):
        raise ValueError("the alert is not a JSON object")
    action, symbol, quantity = alert.get("action"), alert.get("symbol"), alert.get("quantity", 1)
    if action not in ("BUY", "SELL"):
        raise ValueError(f"action is {action!r}, not BUY or SELL")
    if not isinstance(symbol, str) or not symbol:
        raise ValueError("symbol is missing")
    if not isinstance(quantity, int) or isinstance(quantity, bool) or quantity <= 0:
        raise ValueError(f"quantity is {quantity!r}, not a positive whole number")
    return f"{action} {quantity} {symbol}"


class AlertHandler(BaseHTTPRequestHandler):
    """One alert per POST; answers 200, or 400 with the reason."""

    timeout = 10

    def do_POST(self) -> None:
        try:
            length = int(self.headers.get("Content-Length", 0))
            if not 0 < length <= MAX_BODY:
                raise ValueError(f"the body has {length} bytes, not 1 to {MAX_BODY}")
            order = order_of(self.rfile.read(length))
        except ValueError as error:
            print(f"REFUSED {error}")
            self._answer(400, {"status": "error", "message": str(error)})
            return
        print(f"ORDER {order} (paper)")
        self._answer(200, {"status": "success", "order": order})

    def _answer(self, code: int, body: dict[str, str]) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *values: object) -> None:
        print(f"{self.address_string()} {format % values}")


def main() -> None:
    """Serve until SIGTERM, then close the port and leave."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--port", type=int, default=5055)
    given = arguments.parse_args()
    leaving = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: leaving.set())
    signal.signal(signal.SIGINT, lambda *_: leaving.set())
    with ThreadingHTTPServer(("127.0.0.1", given.port), AlertHandler) as server:
        print(f"listening on http://127.0.0.1:{server.server_address[1]}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        leaving.wait()
        server.shutdown()
    print("port closed, leaving")


if __name__ == "__main__":
    main()
