"""What the book's scripts share: which pages it has, and how a page is taken apart into text and blocks of code."""

import dataclasses
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SUMMARY = ROOT / "docs" / "SUMMARY.md"

FENCE = re.compile(r"^( *)(`{3,})(\S*)\s*$")
LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\])\(([^()\s]+)\)")


class Wrong(Exception):
    """What is wrong with a page, for people."""


@dataclasses.dataclass
class Block:
    """A fenced block of code."""

    language: str
    lines: list[str]
    # Where its fence stands, from 1, and how far it is set in, as its lines are.
    line: int
    indent: str


def chapters() -> list[pathlib.PurePosixPath]:
    """The files that docs/SUMMARY.md lists, as paths from the repository's root, in order."""
    listed = []
    for _, target in LINK.findall(SUMMARY.read_text()):
        path = (SUMMARY.parent / target).resolve()
        if not path.is_file():
            raise Wrong(f"docs/SUMMARY.md: there is no {target}")
        listed.append(pathlib.PurePosixPath(path.relative_to(ROOT)))
    forgotten = {path.relative_to(ROOT).as_posix() for path in SUMMARY.parent.glob("*.md")} - {path.as_posix() for path in listed}
    forgotten.discard("docs/SUMMARY.md")
    if forgotten:
        raise Wrong(f"docs/SUMMARY.md does not list {', '.join(sorted(forgotten))}")
    return listed


def split(text: str) -> list[str | Block]:
    """A page as lines of text and blocks of code, in order."""
    parts: list[str | Block] = []
    block, closing = None, ""
    for number, line in enumerate(text.splitlines(), 1):
        fence = FENCE.match(line)
        if block is not None:
            if fence and fence[2] == closing and not fence[3]:
                parts.append(block)
                block = None
            else:
                block.lines.append(line)
        elif fence:
            block, closing = Block(fence[3], [], number, fence[1]), fence[2]
        else:
            parts.append(line)
    if block is not None:
        raise Wrong(f"the block in line {block.line} has no end")
    return parts


def blocks(text: str) -> list[Block]:
    return [part for part in split(text) if isinstance(part, Block)]


def main(run) -> None:
    """Runs a script's `run`, and tells what is wrong in a line."""
    try:
        sys.exit(run())
    except Wrong as wrong:
        sys.exit(f"error: {wrong}")
