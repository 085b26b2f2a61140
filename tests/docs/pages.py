"""The documents as tests see them: pages, their links, fenced blocks, and the command lines they show."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]\n]*\]\((?P<target>[^)\s]+)\)")
_INLINE = re.compile(r"`(stratpanel [^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: Path
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}: {self.text.strip().splitlines()[0][:60] if self.text.strip() else 'empty'}"


@dataclass(frozen=True)
class Command:
    """One `stratpanel …` line that a document shows."""

    page: Path
    line: str

    def __str__(self) -> str:
        return f"{self.page.name}: {self.line}"

    @property
    def words(self) -> list[str]:
        """What the shell would hand to `stratpanel`."""
        return shlex.split(self.line, comments=True)[1:]


def documents() -> list[Path]:
    """The README and every page."""
    return [README, *PAGES]


def text_of(page: Path) -> str:
    """The page's text."""
    return page.read_text(encoding="utf-8")


def blocks(*languages: str) -> list[Block]:
    """Fenced blocks in these languages ("" for none)."""
    return [
        Block(page, match["language"], match["text"])
        for page in documents()
        for match in _FENCE.finditer(text_of(page))
        if match["language"] in languages
    ]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", text_of(page))


def links(page: Path) -> list[str]:
    """Targets of the page's links and images that point into the repository."""
    targets = (match["target"] for match in _LINK.finditer(prose(page)))
    return [target.partition("#")[0] for target in targets if not target.startswith(("http://", "https://", "#"))]


def commands() -> list[Command]:
    """Command lines in blocks and between backticks; a line that shows a grammar ("…", "ID") is none."""
    found = []
    for block in blocks("", "sh"):
        for line in block.text.splitlines():
            for part in line.split("&&"):
                found += [Command(block.page, part.strip())] if part.strip().startswith("stratpanel ") else []
    for page in documents():
        found += [Command(page, match[1]) for match in _INLINE.finditer(prose(page))]
    return [command for command in found if not re.search(r"…|\.\.\.|\bID\b|\bDIR\b|\bPATH\b", command.line)]
