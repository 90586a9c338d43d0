"""Gathers the pages of the book for mdbook: assemble.py PROGRAMS OUT

The pages are the repository's own: those that docs/SUMMARY.md lists. They are gathered in a tree like the repository's, so that
the links between them stay true; a link to a file that is no page leads to a copy of that file. What stands in a comment

    <!-- book: command-line PROGRAM -->         every verb with its help
    <!-- book: methods -->                      the methods and types of the wire
    <!-- book: file PATH LANGUAGE -->           a file, as a block of code
    <!-- book: new NAME LANGUAGE FILE -->       a file as `taskhost new NAME --lang LANGUAGE` makes it
    <!-- book: section PAGE#ANCHOR -->          a section of another page

is put in its place; what comes from programs comes from those in the folder PROGRAMS. And

    <!-- book: quotes all of PATH -->

says that the page's blocks in the language of that file's name are, put together, that file; else the book is not made.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import reference
from pages import LINK, ROOT, SUMMARY, Block, Wrong, blocks, chapters, main, split

DIRECTIVE = re.compile(r"^<!-- book: (.+) -->$")
# What a browser shows, rather than keeping it in a file.
SHOWN = {".svg", ".png"}


class Book:
    def __init__(self, programs: pathlib.Path, out: pathlib.Path):
        self.programs = programs
        self.out = out
        self.pages = chapters()

    def write(self) -> None:
        here = pathlib.Path(__file__).parent
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(parents=True)
        for name in ("book.toml", "book.css"):
            shutil.copy(here / name, self.out)
        summary = self.relink(SUMMARY.read_text(), pathlib.PurePosixPath("docs/SUMMARY.md"), pathlib.PurePosixPath("SUMMARY.md"))
        self.put("SUMMARY.md", summary)
        for page in self.pages:
            place = staged(page)
            text = self.relink(self.filled(page, (ROOT / page).read_text()), page, place)
            self.put(place, text)

    def put(self, place: str | pathlib.PurePosixPath, text: str) -> None:
        path = self.out / "src" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def filled(self, page: pathlib.PurePosixPath, text: str) -> str:
        """A page with what its directives stand for."""
        lines = []
        for line in text.splitlines():
            directive = DIRECTIVE.match(line)
            if not directive:
                lines.append(line)
                continue
            match directive[1].split():
                case ["command-line", program]:
                    lines.append(reference.command_line(self.programs / program))
                case ["methods"]:
                    lines.append(reference.Rpc(reference.discover(self.programs)).page())
                case ["file", path, language]:
                    lines += [f"```{language}", (ROOT / path).read_text().rstrip(), "```"]
                case ["new", name, language, file]:
                    lines += [f"```{language}", self.made(name, language, file).rstrip(), "```"]
                case ["section", target]:
                    source, anchor = target.split("#")
                    section = section_of((ROOT / source).read_text(), anchor)
                    lines.append(self.rebased(section, pathlib.PurePosixPath(source), page))
                case ["quotes", "all", "of", path]:
                    check_quotes(page, text, path)
                case _:
                    raise Wrong(f"{page}: a directive that is not known: {line}")
        return "\n".join(lines) + "\n"

    def made(self, name: str, language: str, file: str) -> str:
        with tempfile.TemporaryDirectory() as folder:
            words = ["new", name, "--lang", language, "--dir", folder]
            subprocess.run([self.programs / "taskhost", *words], stdout=subprocess.DEVNULL, check=True)
            return (pathlib.Path(folder) / name / file).read_text()

    def rebased(self, text: str, source: pathlib.PurePosixPath, page: pathlib.PurePosixPath) -> str:
        """Text of one page as a part of another."""

        def rebase(target: str) -> str:
            if "://" in target:
                return target
            path, _, anchor = target.partition("#")
            path = os.path.relpath((ROOT / source).parent / path if path else ROOT / source, (ROOT / page).parent)
            return path + (f"#{anchor}" if anchor else "")

        return each_link(text, rebase)

    def relink(self, text: str, page: pathlib.PurePosixPath, place: pathlib.PurePosixPath) -> str:
        """The text of a page with its links as the book needs them."""

        def lead(target: str) -> str:
            if "://" in target or target.startswith("#"):
                return target
            path, _, anchor = target.partition("#")
            file = ((ROOT / page).parent / path).resolve()
            if not file.exists() or not file.is_relative_to(ROOT):
                raise Wrong(f"{page}: there is no {target}")
            to = self.lead_to(pathlib.PurePosixPath(file.relative_to(ROOT)))
            return os.path.relpath(to, place.parent) + (f"#{anchor}" if anchor else "")

        return each_link(text, lead)

    def lead_to(self, path: pathlib.PurePosixPath) -> pathlib.PurePosixPath:
        """Where in the book a path of the repository is; a file that is no page is copied."""
        if path in self.pages:
            return staged(path)
        if path / "README.md" in self.pages:
            return staged(path / "README.md")
        file = ROOT / path
        if file == SUMMARY:
            # The contents stand beside every page.
            return staged(pathlib.PurePosixPath("README.md"))
        if file.is_dir():
            listed = subprocess.run(["git", "ls-files", path], cwd=ROOT, capture_output=True, text=True, check=True).stdout
            if not listed:
                raise Wrong(f"{path} has no files")
            place = path / "files.txt"
            self.put(place, listed)
            return place
        place = path if path.suffix in SHOWN else path.with_name(path.name + ".txt")
        (self.out / "src" / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, self.out / "src" / place)
        return place


def staged(page: pathlib.PurePosixPath) -> pathlib.PurePosixPath:
    """Where a page stands among those that mdbook reads."""
    return page.with_name("index.md") if page.name == "README.md" else page


def each_link(text: str, change) -> str:
    """The text with the targets of its links changed, but in blocks of code. A link's words may go over the end of a line."""
    out, prose = [], []

    def flush() -> None:
        if prose:
            out.append(LINK.sub(lambda link: f"{link[1]}({change(link[2])})", "\n".join(prose)))
            prose.clear()

    for part in split(text):
        if isinstance(part, Block):
            flush()
            out += [f"{part.indent}```{part.language}", *part.lines, f"{part.indent}```"]
        else:
            prose.append(part)
    flush()
    return "\n".join(out) + "\n"


def section_of(text: str, anchor: str) -> str:
    """What stands under a heading, without it."""
    lines, level = [], None
    for line in text.splitlines():
        heading = re.match(r"^(#+) (.+)$", line)
        if level is not None:
            if heading and len(heading[1]) <= level:
                break
            lines.append(line)
        elif heading and heading[2].lower().replace(" ", "-") == anchor:
            level = len(heading[1])
    if level is None:
        raise Wrong(f"there is no section {anchor}")
    return "\n".join(lines).strip()


def check_quotes(page: pathlib.PurePosixPath, text: str, path: str) -> None:
    """That the page quotes all of a file, in order; spaces at the begin of lines and empty lines do not count."""
    language = pathlib.PurePosixPath(path).suffix[1:]
    quoted = [line.strip() for block in blocks(text) if block.language == language for line in block.lines if line.strip()]
    there = [line.strip() for line in (ROOT / path).read_text().splitlines() if line.strip()]
    for has, wants in zip(quoted + [""] * len(there), there + [""] * len(quoted)):
        if has != wants:
            raise Wrong(f"{page} does not quote {path}: it has `{has}` where there is `{wants}`")


def run() -> int:
    if len(sys.argv) != 3:
        raise Wrong("usage: assemble.py PROGRAMS OUT")
    Book(pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])).write()
    return 0


main(run)
