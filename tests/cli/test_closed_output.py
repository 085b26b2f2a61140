"""Whoever reads our output may go away: commands end quietly, and the dashboard goes on."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys

import pytest

from tests.support import wait_for
from tests.workbench import Workbench


@pytest.mark.parametrize("words", [("status",), ("status", "--json"), ("week",), ("events",), ("calendar", "list")])
def test_a_command_whose_output_is_closed_ends_well(bench: Workbench, words: tuple[str, ...]) -> None:
    command = f"{sys.executable} -m stratpanel -w {bench.folder} {' '.join(words)}"
    for redirection in (" >&-", " | true", " >&- 2>&-"):
        line = f"set -o pipefail; {command}{redirection}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (line, done.stderr)
        assert done.stderr == ""


def test_serve_goes_on_when_nobody_reads_what_it_says(bench: Workbench) -> None:
    command = [sys.executable, "-m", "stratpanel", "-w", str(bench.folder), "serve", "--port", "0", "--no-open"]
    complaints = bench.folder / "complaints"
    with (
        complaints.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as serving,
    ):
        try:
            assert serving.stdout is not None
            line = serving.stdout.readline()
            serving.stdout.close()
            found = re.search(r"http://([^/\s]+)(\S*)", line)
            assert found, line
            for _ in range(2):  # the second visit makes it print the next token into the closed pipe
                page = http.client.HTTPConnection(found[1], timeout=20)
                page.request("GET", found[2])
                assert page.getresponse().status in (200, 302, 403)
                page.close()
            assert serving.poll() is None
        finally:
            os.kill(serving.pid, signal.SIGTERM)
        wait_for(lambda: serving.poll() is not None, 30, "its end")
    assert serving.returncode == 0
    assert complaints.read_text() == ""
