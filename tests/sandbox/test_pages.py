"""The pages show what is there, and nothing a person wrote becomes an HTML element."""

from __future__ import annotations

from html.parser import HTMLParser

import httpx
import pytest

from app.sandbox.github import SandboxGitHub
from app.sandbox.github.markdown import render
from app.sandbox.github.people import Person
from app.sandbox.github.world import Repository

from .conftest import NO_CERTIFICATES

HOSTILE_TEXTS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "![x](javascript:alert(1))",
    '[x](https://e.example/" onclick="alert(1))',
    "<details onclick=alert(1)><summary>x</summary></details>",
    "<details ontoggle=alert(1) open>",
    "<style>*{display:none}</style>",
    "<a href='javascript:alert(1)'>x</a>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "</article></div></main><form action=//e.example><input name=p>",
    "<!-- --><svg onload=alert(1)>",
    "<!--> <script>alert(1)</script> -->",
    "@mona<script>",
    "`<b>` <!-- unclosed",
    "| <script> | b |\n|---|---|\n| <img src=x> | d |",
    "[a]: javascript:alert(1)\n\n[a]",
    "<kbd><script>alert(1)</script></kbd>",
    "data:text/html,<script>alert(1)</script>",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
]
HARMLESS_ELEMENTS = frozenset(
    [
        "p",
        "br",
        "em",
        "strong",
        "s",
        "del",
        "code",
        "pre",
        "ul",
        "ol",
        "li",
        "a",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "blockquote",
        "input",
        "details",
        "summary",
        "sub",
        "sup",
        "kbd",
    ]
)


class ElementParser(HTMLParser):
    """Collects the HTML elements of a text with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_markdown_gives_harmless_elements_only(text: str) -> None:
    for tag, attrs in ElementParser(render(text, "", "octo/shop")).elements:
        assert tag in HARMLESS_ELEMENTS, (tag, attrs)
        assert set(attrs) <= {
            "href",
            "class",
            "rel",
            "title",
            "type",
            "disabled",
            "checked",
            "open",
            "align",
            "start",
        } | {"style"}
        href = attrs.get("href") or ""
        assert not href.lower().startswith(("javascript:", "data:", "vbscript:"))


def test_markdown_speaks_githubs_dialect() -> None:
    assert "hidden" not in render("a <!-- hidden --> b")
    assert '<li class="task"><input type="checkbox" disabled checked> done</li>' in render("- [x] done")
    assert "<s>gone</s>" in render("~~gone~~")
    assert "<td>d</td>" in render("|a|b|\n|---|---|\n|c|d|")
    assert '<a href="/octo/shop/issues/7" class="reference">#7</a>' in render("see #7", "", "octo/shop")
    assert '<a href="/octo/blog/issues/7" class="reference">octo/blog#7</a>' in render("see octo/blog#7")
    assert '<a href="/mona" class="mention">@mona</a>' in render("ask @mona.")
    assert "mention" not in render("write to me@mona.example, or `@mona`, or [@mona](/x)")
    assert "<details><summary>more</summary>" in render("<details><summary>more</summary>\n\ntext\n\n</details>")


def test_pages_carry_text_as_text(github: SandboxGitHub, shop: Repository, mona: Person) -> None:
    numbers = [mona.opens(shop, text, text, labels=[text[:40]]) for text in HOSTILE_TEXTS]
    plain = ElementParser(_get_page(github, f"/octo/shop/issues/{mona.opens(shop, 'plain')}").text).elements
    usual = {tag for tag, _ in plain}
    for number in numbers:
        page = _get_page(github, f"/octo/shop/issues/{number}")
        tags = {tag for tag, _ in ElementParser(page.text).elements}
        assert not tags & {"script", "iframe", "img", "form", "style", "object"}
        assert tags <= usual | HARMLESS_ELEMENTS | {"label", "code", "path", "rect", "g", "circle", "text"}
        assert not any(name.startswith("on") for _, attrs in ElementParser(page.text).elements for name in attrs)
    assert "<script" not in _get_page(github, "/octo/shop/issues").text


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/", "octo/shop"),
        ("/octo", "organisation"),
        ("/octo/shop", "README.md"),
        ("/octo/shop/issues", "checkout is down"),
        ("/octo/shop/issues/1", "Mona Lisa"),
        ("/octo/shop/pulls", "Postmortem"),
        ("/octo/shop/pull/2", "+# What happened"),
        ("/octo/shop/blob/main/.github/incidents.yml", "profile: guide"),
        ("/octo/shop/blob/HEAD/.github/incidents.yml", "profile: guide"),
        ("/octo/shop/blob/muster/postmortem-1/docs/pm.md", "<h1>What happened</h1>"),
        ("/octo/shop/tree/main/.github", "incidents.yml"),
    ],
)
def test_each_page(github: SandboxGitHub, shop: Repository, mona: Person, path: str, words: str) -> None:
    mona.opens(shop, "checkout is down", "Nobody can pay.", labels=["sev1"])
    mona.reacts(shop, 1, "eyes")
    mona.comments(shop, 1, "by Mona Lisa")
    mona.closes(shop, 1)
    mona.reopens(shop, 1)
    mona.pushes(shop, "docs/pm.md", "# What happened\n", branch="muster/postmortem-1")
    mona.opens_pull(shop, "muster/postmortem-1", "Postmortem", "For #1")
    page = _get_page(github, path)
    assert page.status_code == 200
    assert words in page.text
    assert "pretend GitHub" in page.text
    assert page.headers["Content-Security-Policy"].startswith(
        "default-src 'none'; style-src 'self'; img-src 'self' data:"
    )
    assert "http" not in page.text.replace("http-equiv", "").replace("http://www.w3.org", "")
    for style in [
        attrs["href"] for tag, attrs in ElementParser(page.text).elements if attrs.get("rel") == "stylesheet"
    ]:
        assert _get_page(github, style or "").headers["Content-Type"].startswith("text/css")


def test_labels_wear_their_colours(github: SandboxGitHub) -> None:
    sheet = _get_page(github, "/assets/labels.css?c=d73a4a,ededed,red;}*{x,</style>").text
    assert sheet.count("{") == sheet.count("}") == 2
    assert ".c-d73a4a{--paint:#d73a4a;--ink:#fff" in sheet


def test_lost_ways(github: SandboxGitHub, shop: Repository, mona: Person) -> None:
    shop.permit("mona", "admin")
    other = github.add_repository("octo/other")
    other.permit("mona", "admin")
    first, second = mona.opens(shop, "a"), mona.opens(shop, "b")
    mona.deletes_issue(shop, first)
    mona.transfers(shop, second, other)
    for path in ("/nobody", "/octo/nowhere", f"/octo/shop/issues/{first}", "/octo/shop/blob/main/none", "/a/b/c/d"):
        assert _get_page(github, path).status_code == 404, path
    moved = _get_page(github, f"/octo/shop/issues/{second}")
    assert (moved.status_code, moved.headers["Location"]) == (302, f"{github.url}/octo/other/issues/1")


def _get_page(github: SandboxGitHub, path: str) -> httpx.Response:
    return httpx.get(github.url + path, trust_env=False, verify=NO_CERTIFICATES)
