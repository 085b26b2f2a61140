"""The registry: which strategies there are and how they are configured, kept in one file that people edit too.

The supervisor's loop loads it once, then hands its strategies to `save()` after each change. A file that does not parse
or breaks the schema is never overwritten; a person's edit is merged in, field by field, and reported.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

from stratpanel.model.errors import InvalidValue
from stratpanel.model.ids import id_problem
from stratpanel.model.schema import fields, is_config
from stratpanel.model.strategy import Strategy, report
from stratpanel.supervisor.registry.entry import (
    HOLD,
    RUNTIME,
    Entry,
    flat,
    is_openalgo,
    read_entry,
    read_hold,
    write_entry,
)
from stratpanel.supervisor.registry.file import Content, Displaced, look, replace, stamp
from stratpanel.supervisor.registry.merge import Document, Edit, merge, same, same_wish
from stratpanel.supervisor.registry.text import RegistryError, dotted, line_of, parse

Saving = Generator[Callable[[], Content], Content, "MergeReport"]

__all__ = ["Displaced", "Edit", "MergeReport", "Registry", "RegistryError"]

#: an editor that does not write atomically leaves half a file for a moment; read again before calling it broken
_HALF_WRITTEN_TRIES = 5
_HALF_WRITTEN_PAUSE_S = 0.02
_RACES = 20


@dataclass(frozen=True, slots=True)
class Prepared:
    """One strategy's entry, made ahead of the save that writes it, and what it means as `flat()` gives it."""

    entry: Entry
    said: Entry


@dataclass
class MergeReport:
    """What a save did: to the file, and, where a person had changed it, to the strategies in memory."""

    outcome: Literal["written", "unchanged", "suspended", "failed"] = "unchanged"
    problem: str | None = None
    edits: list[Edit] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)  # ids whose Strategy was updated in place
    added: dict[str, Strategy] = field(default_factory=dict)  # to be taken up before the next save
    removed: list[str] = field(default_factory=list)  # gone from the file; a live one goes on until it ends

    @property
    def kept(self) -> bool:
        """True if the file now says what memory says."""
        return self.outcome in ("written", "unchanged")

    def require(self) -> None:
        """Raise RegistryError if the file could not be written: for callers whose answer promises that it is kept."""
        if not self.kept:
            raise RegistryError(self.problem or "the registry was not written")


class Registry:
    """The registry file of one workspace. Not thread-safe: the thread that owns the strategies calls it.

    `problem` says in words why the file is not what memory says (None: it is); `foreign` is true after a load of a file
    that OpenAlgo wrote and we never did.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.name = "/".join(self.path.parts[-2:])
        self.problem: str | None = None
        self.foreign = False
        self._suspended = False
        self._seen: Content | None = None  # what we last read or wrote
        self._base: Document = {}  # the entries in it
        self._known: Document = {}  # what they mean, as `flat()` gives it
        self._removed: set[str] = set()  # by a person, while somebody here still has them
        self._said: Document = {}  # what strategies mean at the moment of a save, as `flat()` gives it
        self._unwritten: set[str] = set()  # changed, but the save that should have written them could not
        self._texts: dict[str, tuple[Entry, str]] = {}
        self._stamp: tuple[int, int, int] | None = None

    def __repr__(self) -> str:
        return f"Registry({self.name}, {len(self._base)} entries{', ' + self.problem if self.problem else ''})"

    # ------------------------------------------------------------ reading

    def load(self) -> dict[str, Strategy]:
        """Read the file and return its strategies by id; a missing file is an empty registry.

        RegistryError, with file, line and field, if it does not parse or breaks the schema; `problem` then says so,
        nothing is written until `reload()` succeeds.
        """
        try:
            content, document, strategies = self._read({})
        except RegistryError as error:
            self._suspend(error)
            raise
        self.foreign = any(is_openalgo(entry) for entry in document.values())
        self._removed.clear()
        self._accept(content, document, {id: flat(strategy.config()) for id, strategy in strategies.items()})
        return strategies

    def changed_on_disk(self) -> bool:
        """True if a save has something to do: the file is not the one last read or written, or a write failed.

        Judged by inode, size and time, so cheap enough for a poll.
        """
        return stamp(self.path) != self._stamp or bool(self._unwritten and not self._suspended)

    def claimed_pids(self) -> dict[str, int]:
        """PIDs that the file says run, by id: hearsay, to be named as a warning and never signalled."""
        pids = {id: entry.get("pid") for id, entry in self._base.items() if entry.get("is_running")}
        return {id: pid for id, pid in pids.items() if isinstance(pid, int) and not isinstance(pid, bool) and pid > 1}

    def _read(self, checked: Document) -> tuple[Content | None, Document, dict[str, Strategy]]:
        """Read and check the file, giving an editor in the middle of writing a moment to finish.

        Returns its bytes, its entries, and the strategies of those entries that are not in `checked` as they are.
        """
        for attempt in range(_HALF_WRITTEN_TRIES):
            content = look(self.path, self.name)
            if content is None:
                return None, {}, {}
            try:
                document, text = parse(content.data, self.name)
                return content, document, self._check(document, text, checked)
            except RegistryError:
                age = time.time() - content.mtime_ns / 1e9
                if attempt == _HALF_WRITTEN_TRIES - 1 or not 0 <= age < 1:
                    raise
            time.sleep(_HALF_WRITTEN_PAUSE_S)
        raise AssertionError("unreachable")

    def _check(self, document: dict[str, Any], text: str, checked: Document) -> dict[str, Strategy]:
        """Return the strategies of a parsed file; RegistryError that names line and field of all that is wrong."""
        strategies: dict[str, Strategy] = {}
        wrong: dict[tuple[str, ...], str] = {}
        folded: dict[str, str] = {}
        for id, entry in document.items():
            problem = id_problem(id)
            twin = folded.setdefault(id.casefold(), id)
            if problem or twin != id:
                wrong[(id,)] = problem or f"differs from {twin} only in case, so both would have the same files"
                continue
            if id in checked and same(checked[id], entry):
                continue
            try:
                strategies[id] = read_entry(id, entry)
            except InvalidValue as error:
                wrong.update({(id, where): sentence for where, sentence in error.fields.items()})
        if wrong:
            raise self._schema_error(wrong, text)
        return strategies

    def _schema_error(self, wrong: dict[tuple[str, ...], str], text: str) -> RegistryError:
        told: dict[str, str] = {}
        first = ""
        for place, sentence in list(wrong.items())[:100]:
            path = _split(place)
            line = line_of(text, path)
            told[dotted(path)] = f"line {line}: {sentence}"
            first = first or f"{self.name} line {line}, {dotted(path)}: {sentence}"
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        return RegistryError(first + more, fields=told)

    # ------------------------------------------------------------ writing

    def save(self, strategies: Mapping[str, Strategy], only: Collection[str] | None = None) -> MergeReport:
        """Make the file say what `strategies` say, after taking over what a person changed in it.

        Never raises for the file's sake: a file that is broken or cannot be written leaves memory as it is, and the
        report, like `problem`, says why. `only` names the ids that changed since the last save, to spare the others.
        """
        steps = self.saving(strategies, only)
        try:
            write = next(steps)
            while True:
                try:
                    standing = write()
                except (Displaced, RegistryError) as error:
                    write = steps.throw(error)
                else:
                    write = steps.send(standing)
        except StopIteration as done:
            return cast(MergeReport, done.value)

    def prepare(self, id: str, strategy: Strategy) -> Prepared | None:
        """Make one entry of the save that comes next: one of hundreds would hold the loop for as many half
        milliseconds. None for one that cannot be written; the save says so. Nothing else of the registry may be used
        between this and that save.
        """
        try:
            entry, said = self._entry(id, strategy)
            self._text_of(id, entry)
        except (RegistryError, ValueError):
            return None
        return Prepared(entry, said)

    def saving(
        self,
        strategies: Mapping[str, Strategy],
        only: Collection[str] | None = None,
        prepared: Mapping[str, Prepared] | None = None,
    ) -> Saving:
        """`save` in steps: yields each write, which waits for the disk and may run in any thread, and wants its result
        (or its Displaced or RegistryError) back. One at a time; `strategies` must not gain or lose ids meanwhile.
        """
        result = MergeReport()
        self._unwritten.update(strategies if only is None else only)
        if self._suspended:
            result.outcome, result.problem = "suspended", self.problem
            return result
        try:
            yield from self._save(strategies, result, prepared or {})
            self._unwritten.clear()
            self.problem = None
        except _Broken as error:
            self._suspend(error.cause)
            result.outcome, result.problem = "suspended", self.problem
        except RegistryError as error:
            self.problem = error.message
            result.outcome, result.problem = "failed", error.message
        return result

    def reload(self, strategies: Mapping[str, Strategy]) -> MergeReport:
        """Read the file again on a person's word, end a suspension, merge and write; RegistryError if it is broken."""
        try:
            self._read(self._base)
        except RegistryError as error:
            self._suspend(error)
            raise
        self._suspended, self.problem = False, None
        result = self.save(strategies)
        result.require()
        return result

    def _suspend(self, error: RegistryError) -> None:
        self._suspended = True
        self.problem = f"{error.message}; mend it, then reload (until then nothing is written to it)"

    def _save(
        self, strategies: Mapping[str, Strategy], result: MergeReport, prepared: Mapping[str, Prepared]
    ) -> Generator[Callable[[], Content], Content, None]:
        self._removed &= strategies.keys()
        ours = self._entries(strategies, prepared)
        for _ in range(_RACES):
            standing = look(self.path, self.name)
            document: Document = ours
            edited: dict[str, Strategy] = {}
            result.edits = []
            news: dict[str, dict[str, Any]] = {}
            try:
                if standing is not None and not standing.same_bytes(self._seen):
                    standing, document, edited = self._merged(ours, result)
                    news = {id: _news(strategies[id], edited[id]) for id in edited if id in strategies}
                data = self._encode(document)
                # before the write: memory may change while it waits for the disk, and that is the next save's business
                meanings = self._meanings(strategies, document, edited)
                if standing is None or standing.data != data:
                    standing = yield partial(replace, self.path, data, standing, self.name)
                    result.outcome = "written"
            except Displaced:
                continue  # a person was faster: merge that, too
            self._hand_over(strategies, document, edited, news, result)
            self._accept(standing, document, meanings)
            return
        raise RegistryError(f"cannot write {self.name}: somebody else writes it all the time; nothing is lost")

    def _entries(self, strategies: Mapping[str, Strategy], prepared: Mapping[str, Prepared]) -> Document:
        """What the file should say, in the file's order, new ones last."""
        ours: Document = {}
        self._said = {}
        order = [id for id in self._base if id in strategies]
        for id in [*order, *(id for id in strategies if id not in self._base)]:
            if id in self._removed:
                continue
            if (ready := prepared.get(id)) is not None:
                ours[id], self._said[id] = ready.entry, ready.said
            elif id in self._unwritten or id not in self._base:
                ours[id], self._said[id] = self._entry(id, strategies[id])
            else:
                ours[id] = self._base[id]
        return ours

    def _entry(self, id: str, strategy: Strategy) -> tuple[Entry, Entry]:
        """One entry, and what it means. RegistryError if the next load would refuse it, as values set past the rules
        between fields."""
        base = self._base.get(id, {})
        said = flat(strategy.config())
        entry = write_entry(strategy, base, self._known.get(id, {}), said)
        if not same_wish(base, entry):
            try:
                if base and same_wish(base, entry, (*RUNTIME, *HOLD)):  # as after every start and stop
                    read_hold(entry)
                else:
                    read_entry(id, entry)
            except InvalidValue as error:
                raise RegistryError(f"cannot write {self.name}: {id}.{error.message}; set it right") from None
        return entry, said

    def _merged(self, ours: Document, result: MergeReport) -> tuple[Content, Document, dict[str, Strategy]]:
        """Merge what a person wrote; returns that, the merged document, the strategies whose entry is not just ours."""
        try:
            standing, theirs, read = self._read(self._base)
        except RegistryError as error:
            raise _Broken(error) from None
        if standing is None:  # gone since we looked: being replaced, or removed; never an edit that removes all
            raise Displaced
        document, edits = merge(self._base, ours, theirs)
        result.edits = edits
        edited: dict[str, Strategy] = {}
        for id, entry in document.items():
            mine = ours.get(id)
            if mine is not None and same(mine, entry):
                continue
            try:
                strategy = read_entry(id, entry)
            except InvalidValue:  # the person's fields and ours fit alone but not together
                strategy = read[id]
                entry = {**theirs[id], **{name: mine[name] for name in RUNTIME if mine and name in mine}}
            edited[id] = strategy
            settled = write_entry(strategy, entry, flat(strategy.config()))
            runtime = mine or entry
            document[id] = {**settled, **{name: runtime[name] for name in RUNTIME if name in runtime}}
        return standing, document, edited

    def _hand_over(
        self,
        strategies: Mapping[str, Strategy],
        document: Document,
        edited: dict[str, Strategy],
        news: dict[str, dict[str, Any]],
        result: MergeReport,
    ) -> None:
        """Bring memory in step with what a person changed; what changed in memory during the write stays."""
        for id, strategy in edited.items():
            if id in strategies:
                report(strategies[id], **news[id])
                result.changed.append(id)
            else:
                result.added[id] = strategy
            self._removed.discard(id)
        gone = [id for id in strategies if id not in document and id not in self._removed]
        result.removed += gone
        self._removed.update(gone)

    def _meanings(
        self, strategies: Mapping[str, Strategy], document: Document, edited: Mapping[str, Strategy]
    ) -> Document:
        meanings: Document = {}
        for id, entry in document.items():
            if entry is self._base.get(id) and id in self._known:
                meanings[id] = self._known[id]
            elif id in self._said and id not in edited:
                meanings[id] = self._said[id]
            else:
                meanings[id] = flat((edited.get(id) or strategies[id]).config())
        return meanings

    def _encode(self, document: Document) -> bytes:
        """The file's bytes; an entry that did not change is not encoded again (indented JSON is slow in Python)."""
        body = ",\n".join([self._text_of(id, entry) for id, entry in document.items()])
        self._texts = {id: self._texts[id] for id in document}
        return (f"{{\n{body}\n}}\n" if body else "{}\n").encode()

    def _text_of(self, id: str, entry: Entry) -> str:
        known = self._texts.get(id)
        if known is None or not (known[0] is entry or same(known[0], entry)):
            text = json.dumps(entry, indent=2, ensure_ascii=False, allow_nan=False)
            known = self._texts[id] = entry, f"  {json.dumps(id)}: " + text.replace("\n", "\n  ")
        return known[1]

    def _accept(self, content: Content | None, document: Document, meanings: Document) -> None:
        self._seen, self._base, self._known = content, document, meanings
        self._stamp = None if content is None else (content.inode, content.size, content.mtime_ns)
        self._suspended, self.problem = False, None


class _Broken(Exception):
    """A person's edit does not parse or breaks the schema."""

    def __init__(self, cause: RegistryError) -> None:
        super().__init__(cause.message)
        self.cause = cause


def _news(strategy: Strategy, edited: Strategy) -> dict[str, Any]:
    """The configuration and hold of `edited` where they differ from those of `strategy`."""
    now, wanted = strategy.param.values(), edited.param.values()
    return {name: wanted[name] for name in (*fields(Strategy, is_config), "hold") if now[name] != wanted[name]}


def _split(place: tuple[str, ...]) -> tuple[str | int, ...]:
    """(id, "schedule_more[0].start") as (id, "schedule_more", 0, "start")."""
    id, *rest = place
    path: list[str | int] = [id]
    for part in (piece for text in rest for piece in text.replace("[", ".[").split(".") if piece):
        path.append(int(part[1:-1]) if part.startswith("[") and part[1:-1].isdigit() else part)
    return tuple(path)
