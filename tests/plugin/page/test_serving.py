"""The files of the page: which there are, how they are served, and what must not be in them."""

from __future__ import annotations

import json
import re
from importlib.resources import files

import pytest

from orthanc_gcp.auth.account_state import TokenState
from orthanc_gcp.ledger.schema import State
from orthanc_gcp.plugin.page.serving import FILES, HEADERS, PAGE_ROUTES, serve
from tests.support.orthanc_module import Output

FOLDER = files("orthanc_gcp.plugin.page") / "web"
LANGUAGES = ("en", "de", "fr")


def text(name: str) -> str:
    return (FOLDER / name).read_text("utf-8")


SCRIPTS = {name: text(name) for name in FILES if name.endswith(".js")}
PAGE = text("index.html")
NAMESPACE = "http://www.w3.org/2000/svg"
"""The name of the SVG namespace, which no browser asks for."""


def get(name: str, method: str = "GET") -> Output:
    output = Output()
    serve(output, method, (name,))
    return output


def test_all_that_is_there_is_served_and_nothing_else():
    assert {one.name for one in FOLDER.iterdir()} == set(FILES)
    for name, kind in FILES.items():
        answer = get(name)
        assert (answer.status, answer.body) == (200, (FOLDER / name).read_bytes())
        assert answer.headers == {**HEADERS, "Content-Type": kind}


@pytest.mark.parametrize(
    "name",
    ["../serving.py", "..", "./page.js", "page.js/", "web/page.js", "PAGE.JS", "page.js\0", "/etc"],
)
def test_another_name_is_none(name):
    answer = get(name)
    assert (answer.status, answer.body, answer.headers) == (404, "", {})


def test_only_reading():
    for method in ("POST", "PUT", "DELETE"):
        assert get("page.js", method).allow == "GET"
        assert get("", method).allow == "GET"


def test_the_address_without_a_name_leads_to_the_page():
    output = Output()
    serve(output, "GET", ())
    assert output.location == get("").location == "../../gcp/app/index.html"
    assert [re.fullmatch(one, "/gcp/app/index.html") is not None for one in PAGE_ROUTES] == [0, 1]


def test_nothing_is_inline_and_nothing_from_elsewhere():
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?! type=\"module\" src=)", PAGE)
    named = re.findall(r"(?:src|href)=\"([^\"#]+)\"", PAGE)
    assert {one for one in named if not one.startswith("../../app/")} <= set(FILES)
    imported = {
        one for script in SCRIPTS.values() for one in re.findall(r"from \"([^\"]+)\"", script)
    }
    assert {one.removeprefix("./") for one in imported} <= set(SCRIPTS)
    for each in (PAGE, text("page.css"), *SCRIPTS.values()):
        asked = each.replace(NAMESPACE, "")
        assert not re.search(r"https?://|url\(|@import", asked)


def test_no_text_becomes_html_or_code():
    for name, script in SCRIPTS.items():
        found = re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|createContextualFragment|DOMParser"
            r"|srcdoc|\beval\b|Function\(|setTimeout\(\s*[\"'`]|[\"']style[\"']|javascript:",
            script,
        )
        assert found is None, f"{name}: {found}"


# -- Its words ------------------------------------------------------------------------------------

WORDS = {language: json.loads(text(f"{language}.json")) for language in LANGUAGES}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_the_same_words(language):
    words, english = WORDS[language], WORDS["en"]
    assert list(words) == sorted(english)
    for key, value in words.items():
        assert value.strip() == value != ""
        named = [sorted(re.findall(r"\{\w+\}", one)) for one in (value, english[key])]
        assert named[0] == named[1], key


def test_every_word_that_is_used_is_there_and_no_other():
    source = "\n".join(SCRIPTS.values())
    used = set(re.findall(r"word\(\"([^\"]+)\"", source))
    for choice in re.findall(r"word\([^\"`)]+\? (\"[^)]+?\")[,)]", source):
        used |= set(re.findall(r"\"([^\"]+)\"", choice))
    used |= set(re.findall(r"data-word=\"([^\"]+)\"", PAGE))
    made = set(re.findall(r"word\(`(\w+) \$", source))
    assert made == {"state", "token", "done"}
    beginnings = tuple(f"{one} " for one in made)
    there = {one for one in WORDS["en"] if not one.startswith(beginnings)}
    assert used == there
    states = {f"state {one}" for one in State} | {
        f"token {one}" for one in (*TokenState, "unknown")
    }
    assert states == {one for one in WORDS["en"] if one.startswith(("state ", "token "))}
