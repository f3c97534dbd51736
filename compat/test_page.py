"""The page in each Debian's Orthanc, as axe-core judges it: each view, with all of it open."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sql
from playwright.sync_api import expect

from compat.axe import judge
from compat.releases import (
    RELEASES,
    inside,
    install_wheel,
    make_release,
    orthanc_program,
    shared_folder,
)
from orthanc_gcp.custody.reporting.history import STEP
from orthanc_gcp.ledger.schema import transfer_history
from tests.integration.test_page import ACCOUNT, NAME, VIEWS, lose_changes, site
from tests.support.orthanc import Orthanc

HERE, VENV = "bookworm", "/opt/gcp-page"
IDS = [view.partition("/")[0] or "overview" for view in VIEWS]


def fill_history(orthanc: Orthanc) -> None:
    """Two hours of what was confirmed and what was not, with a gap between."""
    engine = sql.create_engine(f"sqlite:///{orthanc.folder / 'storage' / 'orthanc-gcp.sqlite'}")
    newest = time.time() // STEP * STEP - STEP
    try:
        with engine.begin() as connection:
            for place in (14, 13, 12, 2, 1, 0):
                row = {"account": ACCOUNT, "noted_at": newest - place * STEP}
                row |= {"confirmed_instances": 0, "confirmed_bytes": 6_000_000 * (14 - place)}
                row |= {"unsent_instances": 10 * place, "unsent_bytes": 0}
                connection.execute(transfer_history.insert().prefix_with("OR REPLACE"), row)
    finally:
        engine.dispose()


@contextmanager
def site_of(release: str, folder: Path) -> Iterator[Orthanc]:
    """The Orthanc of this machine, or that of another release in a folder of its own."""
    if release == HERE:
        with site(folder) as orthanc:
            yield orthanc
        return
    root = make_release(release)
    install_wheel(root, VENV, "worker")
    with shared_folder(root, folder):
        script = inside(root, f"{VENV}/bin/orthanc-gcp plugin-script")
        program = orthanc_program(root, folder)
        with site(folder, executable=program, python_script=script) as orthanc:
            yield orthanc


@pytest.fixture(scope="module", params=[HERE, *RELEASES])
def orthanc(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Orthanc]:
    with site_of(request.param, tmp_path_factory.mktemp("page")) as orthanc:
        lose_changes(orthanc, 10)
        fill_history(orthanc)
        yield orthanc


@pytest.mark.parametrize("view", VIEWS, ids=IDS)
def test_a_view_with_everything_open(orthanc, page, axe, view, request):
    page.goto(f"{orthanc.url}/gcp/app/index.html#/{view}")
    expect(page.locator("#connection")).to_have_text("Live")
    closed = page.locator("main details:not([open]) > summary")
    while closed.count():
        closed.first.click()
        expect(page.locator("details[open] .instances > li").first).to_be_visible()
    for check in page.get_by_role("button", name="Check", exact=True).all():
        check.click()
        expect(page.locator("#message")).to_contain_text("The check of")
    expect(page.get_by_text("Checking…")).to_have_count(0, timeout=30_000)
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=f"test-logs/page-{request.node.name}.png", full_page=True)
    assert judge(page, axe) == []


def test_the_last_day_as_a_plot(orthanc, page):
    page.goto(f"{orthanc.url}/gcp/app/index.html")
    figure = page.get_by_role("article", name=ACCOUNT).get_by_role("figure")
    expect(figure).to_contain_text("Confirmed: 10 kB/s at most")
    expect(figure).to_contain_text("Still to be sent: 130 at most")
    for kind in ("rate", "unsent"):
        drawn = figure.locator(f"path.{kind}").get_attribute("d")
        assert re.fullmatch(r"(M[\d.]+ [\d.]+(L[\d.]+ [\d.]+)*){2}", drawn), drawn


def test_the_question_why_something_is_dismissed(orthanc, page, axe):
    page.goto(f"{orthanc.url}/gcp/app/index.html#/quarantine")
    page.get_by_role("button", name=re.compile("^Dismiss all")).click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert judge(page, axe) == []


def test_the_question_who_acknowledges_losses(orthanc, page, axe):
    page.goto(f"{orthanc.url}/gcp/app/index.html#/losses/{NAME}")
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert judge(page, axe) == []


def test_it_is_in_other_languages(orthanc, page):
    page.goto(f"{orthanc.url}/gcp/app/index.html")
    expect(page.locator("#connection")).to_have_class("live")
    for language, words in (("fr", "Aperçu"), ("de", "Übersicht"), ("en", "Overview")):
        page.locator("#language").select_option(language)
        expect(page.get_by_role("link", name=words)).to_be_visible()
        expect(page.locator("html")).to_have_attribute("lang", language)
        expect(page.locator("#connection")).to_have_class("live")


def test_nobody_is_asked_while_the_page_is_hidden(orthanc, page):
    asked = []
    page.clock.install()
    page.goto(f"{orthanc.url}/gcp/app/index.html")
    expect(page.locator("#connection")).to_have_text("Live")
    page.on("request", lambda request: asked.append(request.url))
    with page.expect_request(re.compile("/gcp/transfers$")):
        page.clock.run_for(5000)
    page.evaluate("""() => {
        Object.defineProperty(document, 'hidden', {configurable: true, get: () => true});
        document.dispatchEvent(new Event('visibilitychange'));
    }""")
    expect(page.locator("#connection")).to_have_text("Live")
    asked.clear()
    page.clock.run_for(60_000)
    assert asked == []
    page.evaluate("() => delete document.hidden")
    with page.expect_request(re.compile("/gcp/transfers$")):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
