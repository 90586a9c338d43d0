"""Checks the links of a built book: links.py BOOK

Every link to a page, file or anchor of the book must lead somewhere. Nothing is asked of the network.
"""

import collections
import html.parser
import pathlib
import sys
import urllib.parse

from pages import Wrong, main

# Made by mdbook for itself: a page for servers, one for the frame of the contents.
NO_PAGES = {"404.html", "toc.html"}


class Page(html.parser.HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.ids = collections.Counter()
        self.links = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if "id" in attributes:
            self.ids[attributes["id"]] += 1
        for name in ("href", "src"):
            if attributes.get(name):
                self.links.append(attributes[name])


def run() -> int:
    book = pathlib.Path(sys.argv[1]).resolve()
    pages = {path: Page(path.read_text()) for path in sorted(book.rglob("*.html")) if path.name not in NO_PAGES}
    if not pages:
        raise Wrong(f"there is no book in {book}")
    wrong, links = [], 0
    for path, page in pages.items():
        told = path.relative_to(book)
        wrong += [f"{told}: the anchor #{name} is there {count} times" for name, count in page.ids.items() if count > 1]
        for link in page.links:
            url = urllib.parse.urlsplit(link)
            if url.scheme or url.netloc:
                continue
            links += 1
            target = (path.parent / urllib.parse.unquote(url.path)).resolve() if url.path else path
            if not target.is_file():
                wrong.append(f"{told}: {link} leads nowhere")
            elif url.fragment and target in pages and urllib.parse.unquote(url.fragment) not in pages[target].ids:
                wrong.append(f"{told}: {link}: the page has no such anchor")
    for line in sorted(set(wrong)):
        print(line, file=sys.stderr)
    if wrong:
        raise Wrong(f"{len(set(wrong))} links of the book are wrong")
    print(f"{len(pages)} pages, {links} links within the book")
    return 0


main(run)
