"""The example strategies run as they are: on real prices, to the end or until told to leave."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import pid_alive, wait_for

EXAMPLES = Path(__file__).resolve().parents[2] / "strategies" / "examples"
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *arguments],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout


@contextmanager
def running(script: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The example in a process of its own, with its lines as they come; ended at the end."""
    import threading

    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / script), *arguments], env=ENVIRONMENT, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    lines: list[str] = []
    assert process.stdout is not None

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield process, lines
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        reader.join(10)
        process.stdout.close()


@pytest.mark.parametrize("symbol", ["AAPL", "GOOG", "IBM", "MSFT"])
def test_ema_trades_on_real_prices(symbol: str) -> None:
    output = run("simple_ema.py", "--symbol", symbol, "--seconds-per-bar", "0", "--bars", "800")
    closes = re.findall(rf"^\d{{4}}-\d\d-\d\d {symbol} close ([\d.]+)", output, re.MULTILINE)
    assert len(closes) == 800
    assert len(set(closes)) > 100
    fills = re.findall(r"FILL (BUY|SELL)", output)
    assert fills[:4] == ["BUY", "SELL", "BUY", "SELL"]
    assert re.search(r"leaving: equity [\d,.]+ USD", output)


def test_ema_equity_is_cash_plus_what_the_fills_earned() -> None:
    output = run("simple_ema.py", "--seconds-per-bar", "0", "--bars", "1500")
    realised = sum(float(pnl) for pnl in re.findall(r"pnl ([+-][\d.]+)", output))
    said = re.search(r"realised ([+-][\d,.]+),", output)
    assert said is not None
    assert float(said[1].replace(",", "")) == pytest.approx(realised, abs=0.02 * output.count("pnl"))


def test_rsi_stays_between_0_and_100_and_buys_low() -> None:
    output = run("rsi_reversion.py", "--seconds-per-bar", "0", "--bars", "1500")
    values = [float(value) for value in re.findall(r"rsi ([\d.]+)", output)]
    assert values
    assert all(0 <= value <= 100 for value in values)
    before_buy = re.findall(r"rsi ([\d.]+)\n\S+ SIGNAL BUY", output)
    assert before_buy
    assert all(float(value) <= 30.0 for value in before_buy)


def test_unknown_symbol_is_refused_in_words() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "simple_ema.py"), "--symbol", "NOPE"],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "choose one of AAPL, GOOG, IBM, MSFT" in done.stderr


def test_openalgo_example_says_what_is_missing_and_trades_on_paper() -> None:
    output = run("openalgo_ema.py", "--seconds", "0", "--bars", "200")
    assert "no OPENALGO_APIKEY" in output
    assert "FILL BUY" in output


def test_ema_leaves_cleanly_on_sigterm() -> None:
    with running("simple_ema.py", "--seconds-per-bar", "30") as (process, lines):
        wait_for(lambda: any(" close " in line for line in lines), 20, "the first bar")
        process.terminate()
        assert process.wait(5) == 0
    assert any(line.startswith("leaving: equity") for line in lines)


def test_webhook_answers_refuses_and_frees_its_port() -> None:
    with running("webhook_handler.py", "--port", "0") as (process, lines):
        first = wait_for(lambda: lines and lines[0], 20, "the listening line")
        url = re.search(r"http://127\.0\.0\.1:\d+", first)
        assert url is not None

        def post(body: bytes) -> tuple[int, dict[str, str]]:
            request = urllib.request.Request(url[0], data=body, method="POST")
            try:
                with urllib.request.urlopen(request, timeout=5) as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, json.load(error)

        assert post(b'{"action": "BUY", "symbol": "SBIN", "quantity": 2}') == (
            200, {"status": "success", "order": "BUY 2 SBIN"},
        )  # fmt: skip
        assert post(b"not json")[0] == 400
        assert post(b'{"action": "BUY", "symbol": "SBIN", "quantity": -1}')[0] == 400
        process.terminate()
        assert process.wait(5) == 0
        port = url[0].rpartition(":")[2]
    with running("webhook_handler.py", "--port", port) as (_again, lines):
        assert port in wait_for(lambda: lines and lines[0], 20, "the second listener on the same port")


def test_child_processes_go_with_their_parent() -> None:
    with running("child_processes.py", "--seconds-per-bar", "0.01") as (process, lines):
        wait_for(lambda: any("calls 90..110" in line for line in lines), 20, "the first priced ladder")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 2
        process.terminate()
        assert process.wait(10) == 0
    wait_for(lambda: not any(pid_alive(int(child)) for child in children), 5, "the workers' end")
