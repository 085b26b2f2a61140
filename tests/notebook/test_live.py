"""What a strategy may import: harmless alone, and every report reaches the file that the supervisor reads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import wait_for

ALONE = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**ALONE, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def reports(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_everything_is_harmless_without_a_supervisor() -> None:
    done = run(
        "from stratpanel import live\n"
        "live.metric(pnl=1); live.signal('BUY', price=2.5); live.note('x'); live.heartbeat(5)\n"
        "print(live.running(), live.sleep(0.01), live.mode(), live.params(), live.stop_reason())\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True True paper {} None\n", "")


def test_reports_reach_the_file_with_their_time(tmp_path: Path) -> None:
    path = tmp_path / "live.jsonl"
    done = run(
        "from stratpanel import live\n"
        "live.metric(pnl=1.5, position=3); live.signal('SELL', symbol='SBIN', price=812.5); live.note('<b>é')\n",
        STRATPANEL_LIVE_FILE=str(path),
    )
    assert done.returncode == 0, done.stderr
    metric, signal_, note = reports(path)
    assert (metric["kind"], metric["values"]) == ("metric", {"pnl": 1.5, "position": 3})
    assert (signal_["side"], signal_["fields"]) == ("SELL", {"symbol": "SBIN", "price": 812.5})
    assert note["text"] == "<b>é"
    assert all(isinstance(row["t"], float) for row in (metric, signal_, note))


def test_heartbeats_are_one_a_second_but_each_new_promise_is_told(tmp_path: Path) -> None:
    path = tmp_path / "live.jsonl"
    done = run(
        "from stratpanel import live\nfor within in (600, 600, 5, 5, None): live.heartbeat(within)\n",
        STRATPANEL_LIVE_FILE=str(path),
    )
    assert done.returncode == 0, done.stderr
    assert [row["within"] for row in reports(path)] == [600, 5, None]


def test_threads_never_tear_a_report(tmp_path: Path) -> None:
    path = tmp_path / "live.jsonl"
    program = (
        "from stratpanel import live\nimport threading\n"
        "def work(k):\n    for n in range(500): live.metric(k=k, n=n)\n"
        "ts = [threading.Thread(target=work, args=(k,)) for k in range(8)]\n"
        "[t.start() for t in ts]; [t.join() for t in ts]\n"
    )
    assert run(program, STRATPANEL_LIVE_FILE=str(path)).returncode == 0
    assert len(reports(path)) == 4000


def test_a_folder_that_vanished_does_not_hurt_the_strategy(tmp_path: Path) -> None:
    done = run(
        "from stratpanel import live; live.metric(a=1); print('on')", STRATPANEL_LIVE_FILE=str(tmp_path / "no" / "f")
    )
    assert done.stdout == "on\n"


@pytest.mark.parametrize("value", ["'high'", "None", "[1]"])
def test_a_metric_that_is_no_number_is_refused_at_once(value: str) -> None:
    done = run(f"from stratpanel import live; live.metric(pnl={value})")
    assert done.returncode == 1
    assert "is not a number" in done.stderr


def test_sigterm_ends_the_sleep_and_tells_the_reason(tmp_path: Path) -> None:
    (tmp_path / "reason").write_text("window")
    program = (
        "from stratpanel import live\n"
        "@live.on_stop\n"
        "def cancel(reason): print('cancel', reason)\n"
        "print('ready')\n"
        "while live.running(): live.sleep(60)\n"
        "print('left', live.stop_reason())\n"
    )
    environment = {**ALONE, "STRATPANEL_STOP_REASON": str(tmp_path / "reason")}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "cancel window\nleft window\n"
    assert process.wait(5) == 0


def test_a_handler_of_the_script_is_called_too() -> None:
    program = (
        "import os, signal\nfrom stratpanel import live\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('own'))\n"
        "live.running(); os.kill(os.getpid(), signal.SIGTERM); print(live.running())\n"
    )
    assert run(program).stdout == "own\nFalse\n"


def test_a_callback_that_raises_does_not_keep_the_others_from_being_told() -> None:
    program = (
        "import os, signal\nfrom stratpanel import live\n"
        "live.on_stop(lambda reason: 1 / 0); live.on_stop(lambda reason: print('told'))\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    done = run(program)
    assert done.stdout == "told\n"
    assert "ZeroDivisionError" in done.stderr


def test_parameters_arrive_in_a_param_class_and_in_a_dataclass(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('{"fast": 12}')
    program = (
        "import param, dataclasses\nfrom stratpanel import live\n"
        "class A(param.Parameterized):\n    fast = param.Integer(9, bounds=(2, 50)); slow = param.Integer(21)\n"
        "@dataclasses.dataclass\nclass B:\n    fast: int = 9\n    slow: int = 21\n"
        "a, b = live.params(A), live.params(B)\nprint(a.fast, a.slow, b.fast, b.slow)\n"
    )
    assert run(program, SP_PARAMS_FILE=str(tmp_path / "p.json")).stdout == "12 21 12 21\n"


@pytest.mark.parametrize(
    ("text", "sentence"), [('{"fast": 99}', "do not fit A"), ('{"speed": 1}', "unknown to A"), ("[", "cannot read")]
)
def test_parameters_that_do_not_fit_end_the_start_with_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "p.json").write_text(text)
    program = (
        "import param\nfrom stratpanel import live\n"
        "class A(param.Parameterized):\n    fast = param.Integer(9, bounds=(2, 50))\nlive.params(A)\n"
    )
    done = run(program, SP_PARAMS_FILE=str(tmp_path / "p.json"))
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_the_import_pulls_in_the_standard_library_only() -> None:
    done = run(
        "import sys; from stratpanel import live\n"
        "print([m for m in ('param', 'panel', 'tornado', 'rich', 'psutil') if m in sys.modules])"
    )
    assert done.stdout == "[]\n"


def test_a_stop_is_seen_by_a_strategy_that_only_asks_running() -> None:
    program = "from stratpanel import live\nlive.running(); print('ready')\nwhile live.running(): pass\nprint('left')\n"
    process = subprocess.Popen([sys.executable, "-c", program], env=ALONE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        wait_for(lambda: process.poll() is not None, 5, "the end")
        assert process.stdout.read() == "left\n"
