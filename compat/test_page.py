"""The page in Orthanc as axe-core judges it: each view, with all of it open."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from compat.axe import judge
from tests.integration.test_page import VIEWS, fill_history, lose_changes, site
from tests.support.orthanc import Orthanc

IDS = [view.partition("/")[0] or "overview" for view in VIEWS]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with site(tmp_path_factory.mktemp("page")) as orthanc:
        lose_changes(orthanc, 10)
        fill_history(orthanc)
        yield orthanc


@pytest.mark.parametrize("view", VIEWS, ids=IDS)
def test_a_view_with_everything_open(orthanc, page, axe, view, request):
    page.goto(f"{orthanc.url}/gcp/app/index.html#/{view}")
    expect(page.locator("#connection")).to_have_text("Live")
    for summary in page.locator("main summary").all():
        summary.click()
        expect(page.locator("details[open] .instances > li").first).to_be_visible()
    for check in page.get_by_role("button", name="Check", exact=True).all():
        check.click()
        expect(page.locator("#message")).to_contain_text("The check of")
    page.screenshot(path=f"test-logs/page-{request.node.name}.png", full_page=True)
    assert judge(page, axe) == []


def test_the_question_why_something_is_dismissed(orthanc, page, axe):
    page.goto(f"{orthanc.url}/gcp/app/index.html#/quarantine")
    page.get_by_role("button", name=re.compile("^Dismiss all")).click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert judge(page, axe) == []


def test_the_question_who_acknowledges_losses(orthanc, page, axe):
    page.goto(f"{orthanc.url}/gcp/app/index.html#/{VIEWS[-1]}")
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert judge(page, axe) == []
