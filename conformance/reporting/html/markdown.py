"""One markdown document as HTML: headings with anchors, tables and code that scroll, links of the site."""

from __future__ import annotations

import re
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

Env = MutableMapping[str, Any]
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
OUTSIDE = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)


@dataclass(frozen=True)
class Heading:
    """A heading of a document: level 1 to 6, words, anchor."""

    level: int
    words: str
    anchor: str


@dataclass(frozen=True)
class Rendered:
    """A document: its body as HTML, and its headings in order."""

    body: str
    headings: tuple[Heading, ...]

    @property
    def title(self) -> str:
        """The words of the first heading; empty without one."""
        return self.headings[0].words if self.headings else ""


def render(text: str, link: Callable[[str], str | None]) -> Rendered:
    """``link``: a relative target as written -> the target on the site, or None for plain words without a link.

    Markup in the text is shown as text; comments are left out.
    """
    parser = _parser()
    tokens = parser.parse(text)
    headings = _headings(tokens)
    _follow(tokens, link)
    _scrolling(tokens)
    return Rendered(parser.renderer.render(tokens, parser.options, {}), headings)


def links(text: str) -> list[str]:
    """The relative targets of every link and picture of a document, as written."""
    inner = [token for block in _parser().parse(text) for token in block.children or ()]
    found = [str(t.attrs.get("href", t.attrs.get("src", ""))) for t in inner if t.type in ("link_open", "image")]
    return [target for target in found if target and not OUTSIDE.match(target)]


def slug(words: str) -> str:
    """The anchor of a heading, as hosted git services make it."""
    return re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")


def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", renderer_cls=_Renderer).enable("table")


class _Renderer(RendererHTML):
    """HTML of the standard, but for markup in the text and for what scrolls."""

    def html_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        return escape(COMMENT.sub("", tokens[idx].content).strip())

    def html_inline(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        return self.html_block(tokens, idx, options, env)

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        return f"{_opening(tokens[idx])}<pre><code>{escape(tokens[idx].content)}</code></pre></div>\n"

    def code_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        return self.fence(tokens, idx, options, env)

    def table_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        return _opening(tokens[idx]) + "<table>\n"

    def table_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        return "</table>\n</div>\n"


def _opening(token: Token) -> str:
    return f'<div class="scroll" role="region" aria-label="{token.meta["name"]}" tabindex="0">'


def _headings(tokens: list[Token]) -> tuple[Heading, ...]:
    """Give each heading its anchor; one that comes again gets a number."""
    made: list[Heading] = []
    seen: dict[str, int] = {}
    for token, inline in zip(tokens, tokens[1:]):
        if token.type != "heading_open":
            continue
        words = "".join(t.content for t in inline.children or () if t.type in ("text", "code_inline"))
        anchor = slug(words)
        again = seen.get(anchor, 0)
        seen[anchor] = again + 1
        anchor = f"{anchor}-{again}" if again else anchor
        token.attrSet("id", anchor)
        made.append(Heading(int(token.tag[1:]), words, anchor))
    return tuple(made)


def _follow(tokens: list[Token], link: Callable[[str], str | None]) -> None:
    for block in tokens:
        kept: list[Token] = []
        dropped = 0
        for token in block.children or ():
            key = {"link_open": "href", "image": "src"}.get(token.type, "")
            target = str(token.attrs.get(key, "")) if key else ""
            if key and not OUTSIDE.match(target):
                found = link(target)
                if found is not None:
                    token.attrSet(key, found)
                elif token.type == "link_open":
                    dropped += 1
                    continue
            if token.type == "link_close" and dropped:
                dropped -= 1
                continue
            kept.append(token)
        if block.children is not None:
            block.children = kept


def _scrolling(tokens: list[Token]) -> None:
    """Name what scrolls, for screen readers: tables and pieces of code are counted through the document."""
    counts = {"Table": 0, "Code": 0}
    for token, inline, closing in zip(tokens, tokens[1:], tokens[2:]):
        if token.type == "th_open" and not inline.content:
            token.tag = closing.tag = "td"  # a header cell without words names nothing
        elif token.type == "th_open":
            token.attrSet("scope", "col")
    for token in tokens:
        kind = {"table_open": "Table", "fence": "Code", "code_block": "Code"}.get(token.type)
        if kind:
            counts[kind] += 1
            token.meta["name"] = f"{kind} {counts[kind]}"
