"""The emulator's page as axe-core judges it: at two widths, light and dark, all of it open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

from compat.axe import judge
from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.client import Client, make_dicom, sample
from tests.emulator.images import image

# Everything in sight: of what is scrolled away, axe cannot say whether it can be read.
NOTHING_SCROLLED = """
.tall { max-height: none !important; overflow: visible !important; }
header, .tall th { position: static !important; }
"""


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("emulator")
    options = Options(folder / "data", write_credentials=folder, admin=True)
    with Emulator(options) as running:
        client = Client(running.url, folder)
        client.store(*(make_dicom(PatientID=f"P{number}") for number in range(21)))
        frames = np.stack([np.full((600, 40), value, np.uint8) for value in (10, 200)])
        client.store(image(frames, PatientName="Frames", SeriesDescription="Two"))
        client.store(sample("rtplan.dcm"))
        client.get("/nothing")
        client.pool.clear()
        running.fault_settings.change(latency=0.1, faults=[{"path": "/nowhere", "status": 503}])
        yield running


def test_the_page_with_everything_open(emulator, page, axe):
    page.goto(emulator.url)
    for name in ("Last^First^mid^pre", "Frames"):
        study = page.locator("table.studies > tbody").filter(has_text=name)
        for toggle in (".toggle", "table.series .toggle", "table.instances .toggle", "summary"):
            study.locator(toggle).first.click()
    expect(page.get_by_role("img", name="Frame 1 of 2, rendered")).to_be_visible()
    requests = page.locator("#requests .toggle").all()
    for request in requests:
        request.click()
    expect(page.locator("#requests .heads h3")).to_have_count(2 * len(requests))
    page.get_by_label("bandwidth", exact=True).fill("-1")
    page.keyboard.press("Enter")
    page.get_by_label("strangers", exact=True).fill("nobody@example.com")
    expect(page.locator("form .problem", has_text="bandwidth is")).to_be_visible()
    page.add_style_tag(content=NOTHING_SCROLLED)
    assert judge(page, axe) == []


def test_the_question_before_a_reset(emulator, page, axe):
    page.goto(emulator.url)
    page.get_by_role("button", name="Reset emulator…").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert judge(page, axe) == []


def test_the_closed_page(tmp_path: Path, page, axe):
    with Emulator(Options(tmp_path)) as emulator:
        page.goto(emulator.url)
        assert judge(page, axe) == []
