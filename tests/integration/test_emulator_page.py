"""The emulator's page in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import Client, make_dicom
from tests.integration.test_web_pages import page

__all__ = ["page"]

HTML_NAME = "<img src=x onerror=alert(1)>^<b>Bold</b>"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Emulator, Client]]:
    options = Options(tmp_path / "data", write_credentials=tmp_path, admin=True)
    with Emulator(options) as emulator:
        client = Client(emulator.url, tmp_path)
        yield emulator, client
        client.pool.clear()


@pytest.fixture
def complaints(page: Page) -> list[str]:
    """What the browser's console and the policy of the page say against it."""
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    return said


def test_stores_studies_and_requests(served, page, complaints):
    emulator, client = served
    client.store(make_dicom(PatientName=HTML_NAME, PatientID="<i>1</i>"))
    for number in range(20):
        client.store(make_dicom(PatientID=f"P{number}", StudyDate="20240131"))
    client.pool.request("GET", f"{emulator.url}/<script>alert(2)</script>")
    page.goto(emulator.url)
    row = page.locator("#stores tr")
    expect(row).to_contain_text(f"{client.store_name}212121")
    expect(page.locator("#studies tr")).to_have_count(20)
    expect(page.locator("#studies tr").first).to_contain_text("Doe^JohnP192024-01-31")
    page.get_by_role("button", name="Older").click()
    expect(page.locator("#studies tr td").first).to_have_text(HTML_NAME)
    expect(page.get_by_role("button", name="Older")).to_be_disabled()
    expect(page.locator("#requests")).to_contain_text("/<script>alert(2)</script>")
    assert page.locator("main img, main b, main i, main script").count() == 0

    other = client.of_new_store()
    other.store(make_dicom(PatientID="elsewhere"))
    expect(page.locator("#stores tr")).to_have_count(2)
    page.get_by_role("button", name=other.store_name).click()
    expect(page.locator("#studies tr")).to_contain_text("elsewhere")
    assert complaints == []


def test_settings_by_keyboard(served, page, complaints):
    emulator, client = served
    page.goto(emulator.url)
    page.get_by_label("disabledApi", exact=True).focus()
    page.keyboard.press("Space")
    expect(page.locator("form.marked")).to_have_count(1)
    assert client.get("/studies").status == 403
    page.keyboard.press("Space")
    expect(page.locator("form.marked")).to_have_count(0)
    assert client.get("/studies").status == 204

    page.get_by_role("textbox", name="tokenEndpoint").fill('{"status": 503}')
    page.keyboard.press("Enter")
    expect(page.locator("form.marked")).to_have_count(1)
    assert client.pool.request("POST", emulator.token_uri).status == 503
    assert complaints == []

    page.get_by_role("textbox", name="strangers").fill("nobody")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("JSON")
    page.get_by_role("textbox", name="strangers").fill("[1]")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("strangers is a list of texts")
    emulator.fault_settings.reset()
    expect(page.get_by_role("textbox", name="tokenEndpoint")).to_have_value("null")


def test_what_somebody_writes_is_not_undone(served, page, complaints):
    emulator, client = served
    emulator.fault_settings.change(faults=[{"method": "GET", "skip": 1000, "status": 503}])
    page.goto(emulator.url)
    rules = page.get_by_role("textbox", name="faults")
    expect(rules).to_have_value(re.compile('"matched":0'))
    rules.fill("[")
    client.get("/studies", limit="1")
    expect(page.locator("#requests")).to_contain_text("/dicomWeb/studies")
    expect(rules).to_have_value("[")
    page.get_by_role("textbox", name="strangers").focus()
    expect(rules).to_have_value(re.compile('"matched":1'))
    assert complaints == []


def test_what_is_broken_from_the_start_is_marked(tmp_path, page):
    with Emulator(Options(tmp_path, admin=True, fault_settings={"disabledApi": True})) as emulator:
        page.goto(emulator.url)
        expect(page.locator("form.marked")).to_contain_text("disabledApi")


def test_an_emulator_that_went_away(tmp_path, page):
    with Emulator(Options(tmp_path, admin=True)) as emulator:
        page.goto(emulator.url)
        expect(page.locator("#requests")).to_contain_text("Nothing was asked yet.")
    expect(page.get_by_role("status")).to_have_text("No answer from the emulator")


def test_the_closed_page(tmp_path, page, complaints):
    with Emulator(Options(tmp_path)) as emulator:
        page.goto(emulator.url)
        expect(page.locator("pre")).to_have_text("orthanc-gcp emulator --admin")
    assert complaints == []
