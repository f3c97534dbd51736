"""An emulator of the session, and a DICOM store for each test."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
import requests
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from compat.clients.slides import Slide, make_slide
from orthanc_gcp.emulator.pytest_plugin import DicomStore, dicom_store, healthcare_emulator
from tests.support.orthanc import wait_until

__all__ = ["dicom_store", "healthcare_emulator"]

TIMEOUT = 90_000
FLAGS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # WebGL without a graphics card.
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)


def store(dicom_store: DicomStore, *files: bytes) -> None:
    for content in files:
        answer = requests.post(
            f"{dicom_store.dicomweb_url}/studies",
            data=content,
            headers={**dicom_store.headers, "Content-Type": "application/dicom"},
            timeout=60,
        )
        assert answer.status_code == 200, answer.text


@pytest.fixture
def slide(dicom_store: DicomStore, request: pytest.FixtureRequest) -> Slide:
    """A slide that is in the store; its transfer syntax is the fixture's parameter."""
    made = make_slide(**getattr(request, "param", {}))
    store(dicom_store, *(level.content for level in made.levels))
    return made


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=TIMEOUT)
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A small page: without a graphics card each pixel costs."""
    context = browser.new_context(viewport={"width": 700, "height": 500})
    context.set_default_timeout(TIMEOUT)
    page = context.new_page()
    yield page
    context.close()


def difference(one: np.ndarray, other: np.ndarray) -> int:
    """Return the greatest difference between two images of 8 bits."""
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def _picture_in(viewport: Locator) -> np.ndarray:
    """Return what is shown between bars without a picture, and without a frame around it."""
    shown = np.asarray(Image.open(io.BytesIO(viewport.screenshot())).convert("RGB"))[4:-4, 4:-4]
    is_picture = (np.ptp(shown, axis=2) > 40).mean(axis=1) > 0.5
    runs = np.split(np.arange(len(shown)), np.flatnonzero(np.diff(is_picture)) + 1)
    return shown[max((run for run in runs if is_picture[run[0]]), key=len, default=[])]


def wait_for_picture(viewport: Locator, expected: np.ndarray) -> None:
    """Wait until a viewer shows a picture over its whole width, in the colours expected."""

    def is_shown() -> bool:
        picture = _picture_in(viewport).astype(int)
        if len(picture) < 100:
            return False
        other = np.asarray(Image.fromarray(expected).resize(picture.shape[1::-1])).astype(int)
        return float(np.abs(picture - other).mean()) < 12

    wait_until(is_shown, 60)
