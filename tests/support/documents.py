"""Code blocks of the documentation, as a reader takes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_PLACE = re.compile(r"`(/[\w./-]+\.\w+)`")


@dataclass(frozen=True)
class Block:
    """One block of code.

    Attributes
    ----------
    language
        ``sh``, ``json``, ``python``; empty for what is only shown.
    place
        The file that the paragraph before it names last; empty for none.
    """

    language: str
    text: str
    place: str


def blocks(document: Path) -> Iterator[Block]:
    """The blocks of a document, in its order."""
    text = document.read_text()
    for found in _BLOCK.finditer(text):
        paragraph = text[: found.start()].rstrip().rpartition("\n\n")[2]
        places = _PLACE.findall(paragraph)
        body = re.sub(rf"^{found[1]}", "", found[3], flags=re.MULTILINE)
        yield Block(found[2], body, places[-1] if places else "")
