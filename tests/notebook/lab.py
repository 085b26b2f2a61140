"""A real JupyterLab over a real workspace, driven in Debian's chromium as a person drives it.

One server and one browser for a module of tests; every request that would leave the machine is recorded.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from nbformat.reader import NotJSONError
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Locator, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as TimedOut

from tests.browser import CHROMIUM, FLAGS
from tests.support import wait_for
from tests.workbench import Workbench

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


class Lab:
    """One running JupyterLab; `notebook()` opens one in the browser."""

    def __init__(self, bench: Workbench, url: str, token: str, page: Page) -> None:
        self.bench = bench
        self.url = url
        self.token = token
        self.page = page
        self.outside: list[str] = []
        self.errors: list[str] = []
        page.on("request", self._note_request)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _note_request(self, request: object) -> None:
        url = str(request.url)  # type: ignore[attr-defined]
        if not url.startswith((self.url, self.url.replace("http", "ws", 1), "data:", "blob:")):
            self.outside.append(url)

    def notebook(self, name: str, *cells: str, tags: dict[int, list[str]] | None = None) -> Notebook:
        """Write a notebook with these cells and open it."""
        made = [new_code_cell(source, metadata={"tags": (tags or {}).get(n, [])}) for n, source in enumerate(cells)]
        nbformat.write(new_notebook(cells=made, metadata=KERNEL), self.bench.folder / name)
        self.page.goto(f"{self.url}/lab/tree/{name}?token={self.token}&reset")
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        self.page.wait_for_selector("text=/Python 3.*Idle/", timeout=60_000)
        return Notebook(self, name)

    def sessions(self) -> list[dict[str, object]]:
        """The server's running kernels' sessions."""
        with urllib.request.urlopen(f"{self.url}/api/sessions?token={self.token}", timeout=10) as answer:
            found: list[dict[str, object]] = json.load(answer)
        return found


class Notebook:
    """The notebook in front; cells count from 0."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.page = lab.page
        self.name = name

    def cell(self, n: int) -> Locator:
        """One cell, its output included."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(n)

    def output(self, n: int) -> Locator:
        """The output area of one cell."""
        return self.cell(n).locator(".jp-Cell-outputArea")

    def run(self, n: int) -> None:
        """Run one cell and wait until it has run; its output may be drawn a little later."""
        prompt = self.begin(n)
        wait_for(lambda: prompt.inner_text() not in ("?", "[*]:", "[ ]:"), 60, f"cell {n} has run", every=0.05)

    def run_says(self, n: int, text: str) -> str:
        """Run a cell and wait until this text is in its output; all of the output's text."""
        self.run(n)
        output = self.output(n).filter(has_text=text).first
        try:
            output.wait_for(state="attached", timeout=60_000)
        except TimedOut:
            shown = self.cell(n).evaluate("cell => cell.outerHTML")
            raise AssertionError(f"cell {n} ran and never showed {text!r}:\n{shown[-3000:]}") from None
        return output.text_content() or ""

    def begin(self, n: int) -> Locator:
        """Have one cell run, without waiting for its end; its prompt."""
        prompt = self.cell(n).locator(".jp-InputPrompt")
        prompt.evaluate("element => { element.textContent = '?' }")  # after a restart the numbers begin anew
        for _ in range(3):  # an output that grows above moves the cell away from under the click
            self.cell(n).locator(".jp-InputArea-editor").click()
            self.page.keyboard.press("Control+Enter")
            try:
                expect(prompt).not_to_have_text("?", timeout=5_000)
            except AssertionError:
                continue
            return prompt
        raise AssertionError(f"cell {n} does not begin")

    def write(self, n: int, source: str) -> None:
        """Replace a cell's source by typing it in."""
        self.cell(n).locator(".jp-InputArea-editor").click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(source)

    def saved_sizes(self) -> list[int]:
        """Save the notebook; characters of each cell's outputs as they stand in the file."""
        path = self.lab.bench.folder / self.name
        before = path.stat().st_ino, path.stat().st_mtime_ns
        self.page.locator('.jp-NotebookPanel-toolbar [data-command="docmanager:save"]').click()

        def saved() -> list[int]:
            try:
                cells = nbformat.read(path, as_version=4).cells
            except NotJSONError:  # being written
                return []
            now = path.stat().st_ino, path.stat().st_mtime_ns
            return [len(json.dumps(cell.get("outputs", []))) for cell in cells] if now != before else []

        return wait_for(saved, 30, "the notebook saved", every=0.2)

    def restart_kernel(self) -> None:
        """Kernel, Restart Kernel…, Restart."""
        self.page.click("#jp-MainMenu >> text=Kernel")
        self.page.click("text=/^Restart Kernel…$/")
        self.page.click(".jp-Dialog >> button:has-text('Restart')")
        self.page.wait_for_selector("text=/Python 3.*Idle/", timeout=60_000)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_lab(folder: Path) -> Iterator[Lab]:
    """A workspace, JupyterLab on it and a browser page; everything is ended afterwards."""
    bench = Workbench.make(folder / "w")
    port, token = _free_port(), secrets.token_hex(8)
    command = [
        sys.executable,
        "-m",
        "jupyter",
        "lab",
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        "--port-retries=0",
    ]
    command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={bench.folder}", "--LabApp.news_url="]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    home = folder / "home"
    home.mkdir()
    environment = {**bench.environment, "HOME": str(home), "JUPYTER_PREFER_ENV_PATH": "1"}
    url = f"http://127.0.0.1:{port}"
    with (folder / "lab.log").open("wb") as log:
        server = subprocess.Popen(
            command, env=environment, cwd=bench.folder, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for(lambda: _answers(f"{url}/api/status?token={token}"), 60, "JupyterLab answers", every=0.1)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            page = browser.new_context(viewport={"width": 1440, "height": 1400}).new_page()
            page.set_default_timeout(20_000)
            yield Lab(bench, url, token, page)
            browser.close()
    finally:
        bench.close()
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(10)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):  # not listening yet
        return False
