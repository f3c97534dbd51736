"""The emulator's page in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import Client, make_dicom, sample
from tests.emulator.images import image
from tests.integration.test_web_pages import FLAGS

HTML_NAME = "<img src=x onerror=alert(1)>^<b>Bold</b>"
NARROW, WIDE = {"width": 400, "height": 900}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


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


def toggle(page: Page, name: str | re.Pattern[str]) -> Locator:
    return page.locator("#stores").get_by_role("button", name=name)


def fits(page: Page) -> bool:
    """Whether the page needs no scrolling sideways."""
    width = page.evaluate("document.documentElement.scrollWidth")
    return bool(width <= page.evaluate("innerWidth"))


def broken_texts(page: Page) -> list[str]:
    """Return the texts that stand in three lines or more, with fewer than 9 letters in each."""
    return list(
        page.evaluate("""() => {
            const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
            const found = [];
            while (walker.nextNode()) {
                const range = document.createRange();
                range.selectNodeContents(walker.currentNode);
                const lines = new Set([...range.getClientRects()].map((one) => one.top)).size;
                const text = walker.currentNode.textContent.trim();
                if (lines > 2 && text.length < 9 * lines) {
                    found.push(text);
                }
            }
            return found;
        }""")
    )


def test_stores_studies_and_requests(served, page, complaints):
    emulator, client = served
    client.store(make_dicom(PatientName=HTML_NAME, PatientID="<i>1</i>"))
    for number in range(20):
        client.store(make_dicom(PatientID=f"P{number}", StudyDate="20240131"))
    client.pool.request("GET", f"{emulator.url}/<script>alert(2)</script>")
    page.goto(emulator.url)
    expect(page.locator("#stores tr").nth(1)).to_contain_text(f"{client.store_name}212121")
    studies = page.locator("table.studies > tbody")
    expect(studies).to_have_count(20)
    expect(studies.first).to_contain_text("Doe^JohnP192024-01-31")
    page.get_by_role("button", name="Older").click()
    expect(studies).to_have_count(1)
    expect(studies.first).to_contain_text(HTML_NAME)
    expect(page.get_by_role("button", name="Older")).to_be_disabled()
    expect(page.get_by_role("button", name="Older")).to_be_focused()
    expect(page.locator("#requests")).to_contain_text("/<script>alert(2)</script>")
    assert page.locator("main td img, main b, main i, main script").count() == 0

    other = client.of_new_store()
    other.store(make_dicom(PatientID="elsewhere"))
    expect(page.locator("table.stores > tbody")).to_have_count(2)
    toggle(page, other.store_name).click()
    expect(studies).to_have_count(2)
    expect(page.locator("#stores")).to_contain_text("elsewhere")
    assert complaints == []


def test_a_study_opens_to_images_by_keyboard(served, page, complaints):
    emulator, client = served
    frames = np.stack([np.full((30, 40), value, np.uint8) for value in (10, 200)])
    client.store(image(frames, SeriesDescription="Two frames"))
    page.goto(emulator.url)
    for name in ("Doe^John", "Two frames", re.compile(r"^1\.2\.826")):
        expect(toggle(page, name)).to_have_attribute("aria-expanded", "false")
        toggle(page, name).press("Enter")
        expect(toggle(page, name)).to_have_attribute("aria-expanded", "true")
    shown = page.get_by_role("img", name="Frame 1 of 2, rendered")
    expect(shown).to_be_visible()
    assert shown.evaluate("(one) => [one.naturalWidth, one.naturalHeight]") == [40, 30]
    page.get_by_label("Frame", exact=True).fill("2")
    page.keyboard.press("Enter")
    expect(page.get_by_role("img", name="Frame 2 of 2, rendered")).to_be_visible()
    page.get_by_text("Attributes (").press("Enter")
    expect(page.get_by_role("cell", name="Series Description")).to_be_visible()

    # What is new comes without a change to what is open or has the focus.
    client.store(image(frames[0]))
    expect(page.locator("table.studies > tbody")).to_have_count(2)
    expect(page.get_by_role("img", name="Frame 2 of 2, rendered")).to_be_visible()
    expect(page.get_by_text("Attributes (")).to_be_focused()
    assert complaints == []


def test_an_instance_without_pixels_says_so(served, page, complaints):
    emulator, client = served
    client.store(sample("rtplan.dcm"))
    page.goto(emulator.url)
    for name in ("Last^First^mid^pre", "(no description)", re.compile(r"^1\.2\.777")):
        toggle(page, name).click()
    expect(page.locator(".picture")).to_contain_text("no pixel data")
    assert complaints == []


def test_requests_open_to_their_heads(served, page, complaints):
    emulator, client = served
    client.get("/studies", PatientName="Doe^John")
    page.goto(emulator.url)
    opened = page.locator("#requests").get_by_role("button", name="/dicomWeb/studies")
    opened.press("Enter")
    head = page.locator("#requests .heads")
    expect(head).to_contain_text("authorizationBearer …")
    expect(head).to_contain_text("Answer headers")
    client.get("/studies", limit="1")
    expect(page.locator("#requests .main .toggle")).to_have_count(3)
    expect(head).to_be_visible()
    expect(opened.last).to_be_focused()
    assert client.token[-20:] not in page.content()
    assert "Doe" not in page.content()
    assert complaints == []


@pytest.mark.filterwarnings("ignore:The PN component length")
@pytest.mark.filterwarnings("ignore:The value length")
def test_nothing_is_broken_into_columns(served, page, complaints):
    emulator, client = served
    client.store(
        make_dicom(
            PatientName="X" * 60_000,
            PatientID="\u202egnp.exe" + "y" * 60_000,
            SpecificCharacterSet="ISO_IR 192",
        )
    )
    client.store(
        image(np.zeros((300, 1200), np.uint8), PatientName="Wide", SeriesDescription="Flat")
    )
    client.pool.request("GET", f"{emulator.url}/{'z' * 5000}")
    page.set_viewport_size(NARROW)
    page.goto(emulator.url)
    for name in ("Wide", "Flat", re.compile(r"^1\.2\.826")):
        toggle(page, name).click()
    expect(page.get_by_role("img", name="Frame 1 of 1, rendered")).to_be_visible()
    page.get_by_text("Attributes (").click()
    page.locator("#requests .toggle").first.click()
    expect(page.locator("#requests .heads")).to_be_visible()
    for size in (NARROW, WIDE, {"width": 320, "height": 900}, {"width": 1000, "height": 900}):
        page.set_viewport_size(size)
        assert fits(page), size
        assert broken_texts(page) == [], size
    assert len(page.content()) < 300_000
    assert complaints == []


def test_settings_by_keyboard(served, page, complaints):
    emulator, client = served
    page.goto(emulator.url)
    expect(page.locator("#changed")).to_contain_text("Nothing is broken")
    switch = page.get_by_role("switch", name="disabledApi")
    expect(switch).to_have_accessible_description(re.compile("^Every call of the Healthcare API"))
    switch.press("Space")
    expect(page.locator("form.marked")).to_have_count(1)
    assert client.get("/studies").status == 403
    switch.press("Space")
    expect(page.locator("form.marked")).to_have_count(0)
    assert client.get("/studies").status == 204

    page.get_by_label("latency", exact=True).fill("0.25")
    page.keyboard.press("Enter")
    expect(page.locator("form.marked")).to_contain_text("changed; at first 0")
    assert emulator.fault_settings.current.latency == 0.25
    page.get_by_role("button", name="Reset latency to 0").press("Enter")
    expect(page.locator("form.marked")).to_have_count(0)
    expect(page.get_by_label("latency", exact=True)).to_be_focused()
    assert emulator.fault_settings.current.latency == 0

    page.get_by_label("missingResource", exact=True).select_option("404")
    page.get_by_label("strangers", exact=True).fill("one@example.com\n\n two@example.com ")
    page.keyboard.press("Control+Enter")
    page.get_by_label("tokenEndpoint", exact=True).fill('{"status": 503}')
    page.get_by_role("button", name="Apply tokenEndpoint").click()
    expect(page.locator("#changed")).to_have_text("3 settings are not as at first.")
    assert emulator.fault_settings.as_json()["strangers"] == ["one@example.com", "two@example.com"]
    assert emulator.fault_settings.current.missing_resource == 404
    assert client.pool.request("POST", emulator.token_uri).status == 503
    page.get_by_role("button", name="Reset all settings").click()
    expect(page.locator("form.marked")).to_have_count(0)
    expect(page.get_by_label("tokenEndpoint", exact=True)).to_have_value("null")
    assert emulator.fault_settings.current.missing_resource == 403
    assert complaints == []


def test_a_reset_is_asked_for_twice(served, page, complaints):
    emulator, client = served
    client.store(make_dicom())
    emulator.fault_settings.change(latency=0.1)
    page.goto(emulator.url)
    expect(page.locator("table.studies > tbody")).to_have_count(1)
    dialog = page.get_by_role("dialog", name="Reset the emulator?")
    page.get_by_role("button", name="Reset emulator…").press("Enter")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Reset emulator…")).to_be_focused()
    page.get_by_role("button", name="Reset emulator…").click()
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    dialog.get_by_role("button", name="Reset", exact=True).click()
    expect(dialog).to_be_hidden()
    expect(page.locator("#stores")).to_contain_text("There is no study.")
    expect(page.locator("form.marked")).to_have_count(0)
    assert emulator.fault_settings.current.latency == 0
    assert complaints == []


def test_what_cannot_be_set_is_said_beside_the_field(served, page):
    emulator, _ = served
    page.goto(emulator.url)
    faults = page.get_by_label("faults", exact=True)
    expect(faults).to_have_value("[]")  # the settings have come
    for text, problem in (("nobody", "This is not JSON"), ('[{"x": 1}]', "faults has a rule 0")):
        faults.fill(text)
        page.get_by_role("button", name="Apply faults").click()
        form = page.locator("form.setting").filter(has=faults)
        expect(form.get_by_role("alert")).to_contain_text(problem)
        expect(faults).to_have_attribute("aria-invalid", "true")
        expect(faults).to_have_value(text)
    faults.press("Escape")
    expect(faults).to_have_value("[]")
    expect(form.get_by_role("alert")).to_be_empty()
    page.get_by_label("bandwidth", exact=True).fill("-5")
    page.keyboard.press("Enter")
    expect(page.get_by_text("bandwidth is a whole number")).to_be_visible()


def test_what_somebody_writes_is_not_undone(served, page, complaints):
    emulator, client = served
    emulator.fault_settings.change(faults=[{"method": "GET", "skip": 1000, "status": 503}])
    page.goto(emulator.url)
    rules = page.get_by_label("faults", exact=True)
    expect(rules).to_have_value(re.compile('"matched": 0'))
    rules.fill("[")
    client.get("/studies", limit="1")
    expect(page.locator("#requests")).to_contain_text("/dicomWeb/studies")
    page.get_by_label("strangers", exact=True).focus()
    expect(rules).to_have_value("[")
    page.get_by_role("button", name="Discard what is written for faults").click()
    expect(rules).to_have_value(re.compile('"matched": 1'))
    assert json.loads(rules.input_value())[0]["skip"] == 1000
    assert complaints == []


def test_what_is_broken_from_the_start_is_marked(tmp_path, page):
    with Emulator(Options(tmp_path, admin=True, fault_settings={"disabledApi": True})) as emulator:
        page.goto(emulator.url)
        expect(page.locator("form.marked")).to_contain_text("disabledApi")


def test_an_emulator_that_went_away(tmp_path, page):
    with Emulator(Options(tmp_path, admin=True)) as emulator:
        page.goto(emulator.url)
        expect(page.locator("#requests")).to_contain_text("Nothing was asked yet.")
        expect(page.locator("#connection")).to_have_text("Live")
    expect(page.locator("#connection")).to_have_text("No answer from the emulator")


def test_the_closed_page(tmp_path, page, complaints):
    with Emulator(Options(tmp_path)) as emulator:
        page.goto(emulator.url)
        expect(page.locator("pre")).to_have_text("orthanc-gcp emulator --admin")
    assert complaints == []
