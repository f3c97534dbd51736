"""axe-core, and a browser with a page at two widths, light and dark."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import tarfile
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from compat.releases import run
from tests.integration.test_web_pages import FLAGS

AXE = "axe-core-4.14.1"
DIGEST = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the script of axe-core, whose package is what it was."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm")
    folder = tmp_path_factory.mktemp("axe")
    name, _, version = AXE.rpartition("-")
    run("npm", "pack", "--silent", f"{name}@{version}", cwd=folder)
    package = (folder / f"{AXE}.tgz").read_bytes()
    assert base64.b64encode(hashlib.sha512(package).digest()).decode() == DIGEST
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture(params=[(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    width, scheme = request.param
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
    )
    yield context.new_page()
    context.close()
