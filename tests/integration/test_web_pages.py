"""Orthanc's own web pages, in a real browser: send, search, retrieve, delete."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.integration.conftest import query, to_store
from tests.integration.test_round_trip import sample
from tests.support.orthanc import wait_until

expect.set_options(timeout=30_000)  # a crowded machine draws a page slowly
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser.new_page()
        browser.close()


def test_the_pages_of_orthanc(orthanc, emulator, sample_accounts, tmp_path, page):
    instance = orthanc(to_store(sample_accounts["service account"], emulator))
    instance.wait_for_servers("my-google")
    uploaded = instance.json("POST", "/instances", sample(tmp_path, "CT_small.dcm"))
    study = instance.json("GET", f"/studies/{uploaded['ParentStudy']}")
    uid = study["MainDicomTags"]["StudyInstanceUID"]

    page.goto(f"{instance.url}/app/explorer.html#study?uuid={uploaded['ParentStudy']}")
    page.get_by_text("Send to DICOMweb server").click()
    page.get_by_text("my-google").click()
    wait_until(lambda: query(instance, StudyInstanceUID=uid))
    instance.json("DELETE", f"/studies/{uploaded['ParentStudy']}")

    page.goto(f"{instance.url}/dicom-web/app/client/index.html")
    page.locator("input").first.fill("1CT1")
    page.get_by_text("Do lookup").click()
    row = page.get_by_role("row").filter(has_text="CompressedSamples^CT1").first
    row.get_by_title("Retrieve study using WADO-RS").click()
    wait_until(lambda: instance.json("GET", "/studies") == [uploaded["ParentStudy"]])

    page.reload(wait_until="networkidle")  # it asks for what it can do with each server
    page.locator("input").first.fill("1CT1")
    page.get_by_text("Do lookup").click()
    row.get_by_title("Delete remote study").click()
    page.get_by_role("button", name="OK", exact=True).click()
    wait_until(lambda: not query(instance, StudyInstanceUID=uid))
