"""The source of one strategy: edit the working copy, save it with a syntax check, deploy, compare and roll back
versions.

The working copy is never what a schedule runs; saving changes a file, deploying makes a version of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import panel as pn
import param

from stratpanel.dashboard import material
from stratpanel.dashboard.actions import strategy_path
from stratpanel.dashboard.assets import Scripted, script, styles
from stratpanel.dashboard.forms import button, toolbar, words_of
from stratpanel.dashboard.screen import Screen
from stratpanel.dashboard.wire import Asking, Drawn
from stratpanel.model.errors import StratpanelError


class CodeBox(Scripted):
    """A Python editor; `code` is what it was given, `text` what is in it."""

    bus = param.String()
    code = param.String()
    readonly = param.Boolean(default=False)
    problem = param.Dict(default={}, doc="line, column, text of a syntax error")

    _esm = script("code")
    _stylesheets = styles("code")

    def __init__(self, typed: Any, save: Any, **params: Any) -> None:
        super().__init__(**params)
        self.text = self.code
        self._typed = typed
        self._save = save

    def load(self, code: str) -> None:
        """Replace what is in the editor."""
        self.text = code
        self.code = code

    def _handle_msg(self, data: Any) -> None:
        if not isinstance(data, dict):
            return
        if data.get("do") == "text":
            self.text = str(data.get("text", ""))
            self._typed()
        elif data.get("do") == "save":
            self._save()


class DiffView(Drawn):
    """A unified diff as text."""

    text = param.String()
    title = param.String()

    _esm = script("diff")
    _stylesheets = styles("diff")


class CopyBanner(Asking):
    """Says that the working copy is not what runs or is deployed, and what comes next; hidden when there is nothing."""

    strategy = param.String()
    unsaved = param.Boolean(default=False)

    _esm = script("rules", "banner")
    _stylesheets = styles("banner")


class VersionList(Asking):
    """Deployed versions with their actions."""

    strategy = param.String()
    versions = param.List(default=[])

    _esm = script("versions")
    _stylesheets = styles("versions")


def syntax_problem(text: str) -> dict[str, Any]:
    """Where this Python would not compile, as the editor marks it; empty when it would.

    A first check by this process's Python; saving checks with the strategy's own interpreter.
    """
    try:
        compile(text, "strategy", "exec", dont_inherit=True, flags=0x400)  # PyCF_ONLY_AST: nothing is made but the tree
    except SyntaxError as error:
        return {"line": error.lineno or 1, "column": error.offset or 1, "text": error.msg}
    except ValueError as error:  # a NUL character
        return {"line": 1, "column": 1, "text": str(error)}
    return {}


class SourceEditor(pn.viewable.Viewer):
    """Editor on the left, versions on the right, a diff in the editor's place when asked for."""

    def __init__(self, screen: Screen, id_: str, **params: Any) -> None:
        super().__init__(**params)
        self._screen = screen
        self._id = id_
        self._saved = ""
        may = screen.actions.person.may
        self.box = CodeBox(
            self._typed,
            self._save_now,
            bus=screen.bus,
            readonly=not may("source"),
            sizing_mode="stretch_both",
            margin=0,
        )
        self._diff = DiffView(bus=screen.bus, sizing_mode="stretch_both", margin=0, visible=False)
        self._list = VersionList(
            self._asked,
            bus=screen.bus,
            strategy=id_,
            width=320,
            sizing_mode="stretch_height",
            margin=0,
            stylesheets=[BELOW],
        )
        self._banner = CopyBanner(
            self._asked, bus=screen.bus, strategy=id_, sizing_mode="stretch_width", margin=0, stylesheets=[AUTO]
        )
        self._save = self._button("Save", lambda: self._store(), primary=True)
        self._deploy = self._button("Deploy", lambda: self._release("deploy", {}))
        self._revert = self._button("Undo changes", self._reload)
        self._compare = self._button("Diff to deployed", lambda: self._show_diff(None))
        self._edit = self._button("Back to the editor", self._back)
        self._edit.visible = False
        self._said = words_of("" if may("source") else "Editing needs the role admin.")
        bar = toolbar(
            self._save,
            self._deploy,
            self._revert,
            self._compare,
            self._edit,
            self._said,
        )
        left = pn.Column(self.box, self._diff, sizing_mode="stretch_both", margin=0, stylesheets=[FILL])
        self._layout = pn.Column(
            self._banner,
            bar,
            pn.Row(left, self._list, sizing_mode="stretch_both", margin=0, stylesheets=[SPLIT]),
            sizing_mode="stretch_both",
            margin=0,
            stylesheets=[FILL],
        )
        self._begun = False

    def __panel__(self) -> pn.Column:
        return self._layout

    def _button(self, label: str, work: Callable[[], Any], *, primary: bool = False) -> material.Button:
        return button(label, lambda: self._screen.delivery.spawn(work()), primary=primary)

    def _typed(self) -> None:
        changed = self.box.text != self._saved
        problem = syntax_problem(self.box.text) if self.box.text else {}
        may = self._screen.actions.person.may("source")
        self.box.problem = problem
        self._save.disabled = not may or not changed
        self._revert.disabled = not changed
        self._banner.unsaved = changed
        self._deploy.disabled = not self._screen.actions.person.may("deploy") or changed or bool(problem)
        self._compare.disabled = False
        if problem:
            self._said.object = f"line {problem['line']}: {problem['text']}"
        elif may:
            self._said.object = "not saved" if changed else ""

    def _save_now(self) -> None:
        self._screen.delivery.spawn(self._store())

    def _say(self, text: str) -> None:
        self._screen.delivery.run(lambda: setattr(self._said, "object", text))

    async def _reload(self) -> None:
        try:
            source = await self._screen.actions.get(f"{strategy_path(self._id)}/source")
        except StratpanelError as error:
            self._say(f"the source could not be read: {error.message}")
            return
        self._saved = source if isinstance(source, str) else str(source)

        def show() -> None:
            self.box.load(self._saved)
            self._typed()

        self._screen.delivery.run(show)

    async def _store(self) -> None:
        text = self.box.text
        if text == self._saved:
            return
        self._say("saving…")
        try:
            await self._screen.actions.ask("PUT", f"{strategy_path(self._id)}/source", body=text, action="source")
        except StratpanelError as error:
            line = re.search(r"line (\d+)", error.message)
            problem = {"line": int(line[1]), "column": 1, "text": error.message} if line else {}
            self._screen.delivery.run(lambda: setattr(self.box, "problem", problem))
            self._say(error.message)
            return
        self._saved = text
        self._screen.delivery.run(self._typed)
        self._say("saved; the schedule goes on with the deployed version until you deploy")

    async def _release(self, verb: str, body: Mapping[str, Any]) -> None:
        self._say(f"{verb}…")
        try:
            answer = await self._screen.actions.act(verb, self._id, body)
        except StratpanelError as error:
            self._say(error.message)
            return
        versions = await self._versions()
        current = next((version["n"] for version in versions if version.get("current")), None)
        said = {"deploy": "deployed as v{}", "rollback": "rolled back to v{}", "promote": "promoted v{} to live"}[verb]
        if verb == "deploy" and answer.get("changed") is False:
            said = "the working copy equals what is deployed, v{}"
        runs = (answer.get("strategy") or {}).get("version") if (answer.get("strategy") or {}).get("pid") else None
        said = said.format(body.get("version", current))
        if runs is not None and runs != current:
            said += f"; v{runs} runs on until it is stopped and started again"
        self._say("; ".join([said, *(str(text) for text in answer.get("warnings") or ())]))

    async def _versions(self) -> list[dict[str, Any]]:
        try:
            found = (await self._screen.actions.get(f"{strategy_path(self._id)}/versions")).get("versions") or []
        except StratpanelError as error:
            self._say(f"the versions could not be read: {error.message}")
            return []
        shown = [
            {key: version.get(key) for key in ("n", "version", "sha", "created", "by", "note", "current", "live")}
            for version in found
        ]
        self._screen.delivery.run(lambda: setattr(self._list, "versions", shown))
        return shown

    async def _again(self) -> None:
        await self._versions()

    def _asked(self, message: Mapping[str, Any]) -> None:
        what, n = message.get("do"), message.get("n", message.get("from"))
        if what == "again":
            self._screen.delivery.spawn(self._again())
        elif what == "ready":  # only now: in a cell, what changes before its browser has drawn it is lost
            if not self._begun:  # drawn again, after another tab: an edit in progress stays
                self._begun = True
                self._screen.delivery.spawn(self._reload())
            self._screen.delivery.spawn(self._again())
        elif what == "deploy":
            self._screen.delivery.spawn(self._release("deploy", {}))
        elif not isinstance(n, int):
            return
        elif what == "diff":
            self._screen.delivery.spawn(self._show_diff(n))
        elif what == "rollback":
            self._screen.delivery.spawn(self._release("rollback", {"n": n}))
        elif what == "promote":
            self._screen.delivery.spawn(self._release("promote", {"version": n, "mode": "live"}))

    async def _show_diff(self, n: int | None) -> None:
        try:
            answer = await self._screen.actions.ask(
                "GET",
                f"{strategy_path(self._id)}/diff",
                query={"from": n, "to": "working"} if n is not None else {"to": "working"},
            )
        except StratpanelError as error:
            self._say(error.message)
            return
        text = str(answer.get("diff") or "")
        title = f"{'v' + str(n) if n is not None else 'deployed version'} → working copy"

        def show() -> None:
            self._diff.param.update(text=text, title=title, visible=True)
            self.box.visible, self._edit.visible, self._edit.disabled = False, True, False

        self._screen.delivery.run(show)

    async def _back(self) -> None:
        def show() -> None:
            self._diff.visible = False
            self.box.visible, self._edit.visible = True, False

        self._screen.delivery.run(show)


FILL = ":host { min-height: 0; }"
AUTO = ":host { flex: none !important; }"
SPLIT = "@media (max-width: 699px) { :host { flex-direction: column !important; flex-wrap: nowrap !important; } }"
BELOW = "@media (max-width: 699px) { :host { width: 100% !important; height: 40% !important; flex: none !important; } }"
