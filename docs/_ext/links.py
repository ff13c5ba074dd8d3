"""Looks through the built pages: no broken link or anchor, nothing that a browser would load from elsewhere."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

ELSEWHERE = re.compile(r"^(https?:)?//")
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "audio": "src", "video": "src"}


class Page(HTMLParser):
    """Anchors, links and loaded files of one page."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors: set[str] = {""}
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag names, and where it leads."""
        values = {name: value or "" for name, value in attrs}
        self.anchors.update(values[name] for name in ("id", "name") if name in values)
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and values.get("rel") not in ("canonical", "author"):
            self.loaded.append(values.get("href", ""))
        if tag in LOADED and LOADED[tag] in values:
            self.loaded.append(values[LOADED[tag]])


def faults(folder: Path) -> Iterator[str]:
    """What is wrong with the pages in this folder, in words."""
    pages = {
        path: Page(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html") if "_static" not in path.parts
    }
    for path, page in pages.items():
        where = path.relative_to(folder)
        for loaded in page.loaded:
            if ELSEWHERE.match(loaded):
                yield f"{where} loads {loaded}"
        for link in [*page.links, *(name for name in page.loaded if not name.startswith("data:"))]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{where} links to {link}: no such anchor"
            elif not target.exists():
                yield f"{where} links to {link}: no such file"
    for path in folder.rglob("*.css"):
        for url in re.findall(r"url\(\s*['\"]?([^)'\"]+)", path.read_text(encoding="utf-8")):
            if ELSEWHERE.match(url):
                yield f"{path.relative_to(folder)} loads {url}"


def check(app: Any, error: Exception | None) -> None:
    """Sphinx event `build-finished`."""
    if error is None and app.builder.name == "html":
        found = sorted(set(faults(Path(app.outdir).resolve())))
        if found:
            from sphinx.errors import SphinxError

            raise SphinxError("the pages are not as they should be:\n" + "\n".join(found))


def setup(app: Any) -> dict[str, bool]:
    """Sphinx extension."""
    app.connect("build-finished", check)
    return {"parallel_read_safe": True}
