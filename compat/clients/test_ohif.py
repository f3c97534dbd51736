"""OHIF in Chromium: login, study list, images and a slide, with the pixels that were stored."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from pydicom.uid import JPEG2000Lossless

from compat.clients.conftest import store, wait_for_picture
from compat.clients.slides import Slide
from compat.clients.web_pages import serve, viewer_folder
from orthanc_gcp.emulator.pytest_plugin import DicomStore
from tests.emulator.client import read, sample

LOGIN = """<script>
const asked = new URLSearchParams(location.search);
location = asked.get('redirect_uri') + '#' + new URLSearchParams({
  access_token: 'TOKEN', token_type: 'Bearer', expires_in: 3600,
  state: asked.get('state'), scope: asked.get('scope'),
});
</script>"""
# As OHIF's own configuration for Google (config/google.js); but the login is ours, and OHIF's
# package of npm is built for Node in one place.
CONFIGURATION = """
window.__filename = '';
window.config = {
  routerBasename: null,
  extensions: [],
  modes: [],
  showStudyList: true,
  showWarningMessageForCrossOrigin: false,
  strictZSpacingForVolumeViewport: true,
  investigationalUseDialog: { option: 'never' },
  oidc: [{
    authority: window.location.origin,
    client_id: 'viewer',
    redirect_uri: '/callback',
    response_type: 'token',
    scope: 'https://www.googleapis.com/auth/cloud-healthcare',
  }],
  defaultDataSourceName: 'dicomweb',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
    sourceName: 'dicomweb',
    configuration: {
      friendlyName: 'the emulator',
      name: 'GCP',
      wadoUriRoot: 'STORE',
      qidoRoot: 'STORE',
      wadoRoot: 'STORE',
      qidoSupportsIncludeField: true,
      imageRendering: 'wadors',
      thumbnailRendering: 'wadors',
      enableStudyLazyLoad: true,
      supportsFuzzyMatching: true,
      supportsWildcard: false,
      dicomUploadEnabled: true,
      omitQuotationForMultipartRequest: true,
    },
  }],
};
"""
TOURS = "localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour']))"
IMAGES = "[...(window.cornerstone?.cache._imageCache.keys() ?? [])]"
PIXELS = """async (id) => {
  const image = await window.cornerstone.cache.getImageLoadObject(id).promise;
  const values = Float32Array.from(image.getPixelData());
  let text = '';
  for (const byte of new Uint8Array(values.buffer)) text += String.fromCharCode(byte);
  return { rows: image.rows, columns: image.columns, values: btoa(text) };
}"""
LOSSLESS = [
    "CT_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_bigendian.dcm",
    "SC_rgb_small_odd.dcm",
    "SC_rgb_rle_2frame.dcm",
]


@pytest.fixture
def ohif(dicom_store: DicomStore) -> Iterator[str]:
    """The address of an OHIF that reads the store."""
    provider = {
        "issuer": "here",
        "authorization_endpoint": "/login.html",
        "jwks_uri": "/none",
    }
    made = {
        "/app-config.js": CONFIGURATION.replace("STORE", dicom_store.dicomweb_url).encode(),
        "/login.html": LOGIN.replace("TOKEN", dicom_store.token()).encode(),
        "/.well-known/openid-configuration": json.dumps(provider).encode(),
    }
    with serve(viewer_folder("@ohif/app") / "dist", made) as address:
        yield address


def test_the_study_list(dicom_store, slide, ohif, page):
    store(dicom_store, sample("CT_small.dcm"), sample("MR_small.dcm"))
    page.goto(f"{ohif}/")
    for text in ("Müller, Änne", "CompressedSamples, CT1", "CompressedSamples, MR1"):
        expect(page.get_by_text(text)).to_be_visible()
    page.locator("input").nth(1).fill("1CT1")
    expect(page.get_by_text("Müller, Änne")).to_have_count(0)
    expect(page.get_by_text("CompressedSamples, CT1")).to_be_visible()


@pytest.mark.parametrize("name", LOSSLESS)
def test_an_image(dicom_store, ohif, page, name):
    content = sample(name)
    store(dicom_store, content)
    dataset = read(content)
    page.add_init_script(TOURS)
    page.goto(f"{ohif}/viewer?StudyInstanceUIDs={dataset.StudyInstanceUID}")
    page.wait_for_function(f"{IMAGES}.length > 0")
    found = page.evaluate(PIXELS, page.evaluate(IMAGES)[0])
    values = np.frombuffer(base64.b64decode(found["values"]), np.float32)
    expected = dataset.pixel_array
    assert [found["rows"], found["columns"]] == [dataset.Rows, dataset.Columns]
    if "NumberOfFrames" in dataset and dataset.NumberOfFrames > 1:
        expected = expected[0]
    slope, intercept = dataset.get("RescaleSlope", 1), dataset.get("RescaleIntercept", 0)
    assert (values.reshape(expected.shape) == expected * float(slope) + float(intercept)).all()


@pytest.mark.parametrize("slide", [{}, {"syntax": JPEG2000Lossless}], indirect=True)
def test_a_slide(slide: Slide, ohif: str, page: Page):
    page.goto(f"{ohif}/microscopy?StudyInstanceUIDs={slide.study}")
    viewport = page.locator(".DicomMicroscopyViewer").first
    expect(viewport.locator("canvas").first).to_be_visible()
    wait_for_picture(viewport, slide.on_its_stage)
