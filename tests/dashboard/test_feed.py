"""The feed and the log feed without a browser: numbers without gaps, each line once, nothing kept of a page that
left."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from stratpanel.dashboard.feed import Feed
from stratpanel.dashboard.logfeed import LogFeed, Tail
from stratpanel.dashboard.news import News
from stratpanel.dashboard.page import search_of, where_of
from stratpanel.dashboard.roles import Person, person
from stratpanel.dashboard.settings import merge
from stratpanel.model.errors import Forbidden, InvalidValue
from tests.dashboard.fake import FakeWorkspace


class Page:
    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []

    def post_text(self, text: str) -> None:
        self.got.append(json.loads(text))


async def until(predicate: Any) -> None:
    async with asyncio.timeout(10):
        while not predicate():  # noqa: ASYNC110  # the things waited for have no event of their own
            await asyncio.sleep(0.005)


def fake(count: int = 3) -> FakeWorkspace:
    made = FakeWorkspace(count)
    made.on_loop(asyncio.get_running_loop())
    return made


async def test_changes_are_numbered_without_gaps_from_the_snapshot_on() -> None:
    desk = fake()
    feed = Feed(desk)
    page = Page()
    start = json.loads(feed.snapshot())
    feed.attach(page)
    desk.change("ema", state="stopped", pid=None)
    desk.change("rsi", why="other")
    await until(lambda: page.got)
    desk.remove("rsi")
    await until(lambda: len(page.got) == 2)
    assert [m["q"] for m in page.got] == [start["q"] + 1, start["q"] + 2]
    assert set(page.got[0]["rows"]) == {"ema", "rsi"}, "what changes together travels together"
    assert page.got[0]["rows"]["ema"]["state"] == "stopped"
    assert page.got[0]["rows"]["rsi"] == {"why": "other"}, "only what changed"
    assert page.got[1]["gone"] == ["rsi"]
    feed.close()


async def test_samples_go_once_a_second_and_only_when_they_changed() -> None:
    desk = fake(50)
    feed = Feed(desk)
    page = Page()
    feed.snapshot()
    feed.attach(page)
    await until(lambda: len([m for m in page.got if m["k"] == "tick"]) == 2)
    first, second = [m for m in page.got if m["k"] == "tick"]
    running = sum(row["state"] == "running" for row in desk.rows.values())
    assert len(first["u"]) == 3 * running
    assert second["u"] == [], "nothing changed"
    feed.close()


async def test_an_uptime_is_one_start_time_and_infinite_age_is_json() -> None:
    desk = fake(1)
    desk.rows["ema"]["started"] = None
    feed = Feed(desk)
    up = json.loads(feed.snapshot())["rows"][0]["up"]
    desk.change("ema", uptime_s=9000.0, why="said again")
    await asyncio.sleep(0)
    assert json.loads(feed.snapshot())["rows"][0]["up"] == up, "the same run keeps its start"
    feed.close()


async def test_a_page_that_left_is_not_kept() -> None:
    feed = Feed(fake())
    page = Page()
    feed.attach(page)
    gone = weakref.ref(page)
    del page
    gc.collect()
    assert gone() is None
    assert feed.pages == 0
    feed.close()


class View:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def more(self, text: str) -> None:
        self.texts += [line[1] for line in json.loads(text)["lines"]]

    def restarted(self, tail: Tail) -> None:
        self.texts = [line[1] for _, line in tail.recent]


async def test_two_views_of_a_log_get_each_line_once_also_the_one_that_joins_late() -> None:
    desk = fake(1)
    logs = LogFeed(desk)
    first, second = View(), View()
    logs.watch("ema", first)
    await until(lambda: len(first.texts) == 300 and desk._streams.get("ema"))
    for n in range(500):
        desk.print("ema", f"new {n}")
        if n == 250:
            await asyncio.sleep(0.002)
            tail = logs.watch("ema", second)
            second.restarted(tail)
    await until(lambda: first.texts[-1] == "new 499" and second.texts[-1] == "new 499")
    expected = [f"new {n}" for n in range(500)]
    assert first.texts[300:] == expected
    assert second.texts[300:] == expected
    logs.leave("ema", first)
    logs.leave("ema", second)
    await until(lambda: not desk._streams["ema"])
    logs.close()


class Late:
    """A desk whose streams take their time to open, and never bring anything until they are closed."""

    def __init__(self) -> None:
        self.opening, self.go, self.ended = threading.Event(), threading.Event(), threading.Event()

    def call(self, method: str, path: str, **_: Any) -> Any:
        return {"lines": [], "events": []}

    def stream(self, path: str, last_id: str = "") -> Any:
        self.opening.set()
        assert self.go.wait(10)
        return self

    def __iter__(self) -> Iterator[Any]:
        self.ended.wait()
        return iter(())

    def close(self) -> None:
        self.ended.set()


@pytest.mark.parametrize("reader", ["log", "news"])
async def test_a_reader_that_is_ended_while_its_stream_opens_leaves_nothing(reader: str) -> None:
    desk, view = Late(), View()
    before = set(threading.enumerate())
    if reader == "log":
        logs = LogFeed(desk)
        logs.watch("ema", view)
        end = partial(logs.leave, "ema", view)
    else:
        feed = Feed(fake(1))
        end = News(desk, feed, asyncio.get_running_loop()).close
    (thread,) = (made for made in set(threading.enumerate()) - before if made.name.startswith("stratpanel-"))
    await until(desk.opening.is_set)
    end()
    desk.go.set()
    await until(lambda: not thread.is_alive())
    assert desk.ended.is_set(), "its connection is closed"
    if reader == "news":
        feed.close()


def test_roles_draw_the_line_where_the_api_does(tmp_path: Any) -> None:
    viewer, operator, admin = (Person("x", role) for role in ("viewer", "operator", "admin"))
    for action in ("start", "stop", "panic", "resume"):
        with pytest.raises(Forbidden, match="needs the role operator; x has the role viewer"):
            viewer.require(action)
        operator.require(action)
    for action in ("source", "patch", "remove", "promote", "anything new"):
        with pytest.raises(Forbidden):
            operator.require(action)
        admin.require(action)
    (tmp_path / "stratpanel.toml").write_text('[roles]\nasha = "viewer"\n')
    assert person(tmp_path, "asha", holds_token=True).role == "viewer"
    assert person(tmp_path, "somebody", holds_token=False).role == "viewer"
    (tmp_path / "stratpanel.toml").write_text("[roles\n")
    with pytest.raises(InvalidValue, match="does not parse"):
        person(tmp_path, "asha", holds_token=True)


def test_addresses_name_places_and_back() -> None:
    for place in ({"page": "strategy", "id": "a b", "tab": "runs"}, {"page": "week"}, {"page": "new"}):
        query = "?" + "&".join(f"{key}={value}" for key, value in search_of(place).items()).replace(" ", "%20")
        assert {key: value for key, value in where_of(query).items() if value} == place
    assert where_of("?page=../etc") == {"page": "board"}


def test_a_patch_removes_what_left_an_object() -> None:
    assert merge({"env": {"A": "1", "B": "2"}}, {"env": {"B": "3"}}) == {"env": {"A": None, "B": "3"}}
