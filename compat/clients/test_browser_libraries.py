"""Libraries for browsers, each on a page of its own: dicomweb-client, dcmjs, the slide viewer."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from compat.clients.conftest import wait_for_picture
from compat.clients.environments import node_folder
from compat.clients.slides import Slide
from compat.clients.web_pages import serve, viewer_folder
from orthanc_gcp.emulator.pytest_plugin import DicomStore
from tests.emulator.client import read, sample

STORE_AND_READ = """async ({ url, token, content }) => {
  const headers = { Authorization: `Bearer ${token}` };
  const client = new DICOMwebClient.api.DICOMwebClient({ url, headers });
  const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
  const text = (buffer) => {
    let all = '';
    for (const byte of new Uint8Array(buffer)) all += String.fromCharCode(byte);
    return btoa(all);
  };
  const facts = {};
  facts.stored = await client.storeInstances({ datasets: [bytes.buffer] });
  const [study] = await client.searchForStudies();
  const studyInstanceUID = study['0020000D'].Value[0];
  const [series] = await client.searchForSeries({ studyInstanceUID });
  const seriesInstanceUID = series['0020000E'].Value[0];
  const [instance] = await client.searchForInstances({ studyInstanceUID, seriesInstanceUID });
  const sopInstanceUID = instance['00080018'].Value[0];
  const uids = { studyInstanceUID, seriesInstanceUID, sopInstanceUID };
  facts.uids = Object.values(uids);
  const [metadata] = await client.retrieveInstanceMetadata(uids);
  facts.patient = dcmjs.data.DicomMetaDictionary.naturalizeDataset(metadata).PatientID;
  const read = dcmjs.data.DicomMessage.readFile(await client.retrieveInstance(uids));
  const dataset = dcmjs.data.DicomMetaDictionary.naturalizeDataset(read.dict);
  facts.rows = dataset.Rows;
  facts.pixels = text(dataset.PixelData[0] ?? dataset.PixelData);
  const frames = await client.retrieveInstanceFrames({ ...uids, frameNumbers: [1] });
  facts.frame = text(frames[0]);
  facts.rendered = text((await client.retrieveInstanceRendered({
    ...uids, mediaTypes: [{ mediaType: 'image/png' }],
  }))[0]);
  facts.studies = (await client.retrieveStudy({ studyInstanceUID })).length;
  facts.series = (await client.retrieveSeries(uids)).length;
  facts.all = (await client.retrieveStudyMetadata({ studyInstanceUID })).length;
  const bulk = metadata['7FE00010'].BulkDataURI;
  facts.bulk = text((await client.retrieveBulkData({ BulkDataURI: bulk }))[0]);
  return facts;
}"""
SHOW_SLIDE = """async ({ url, token, study, series }) => {
  const headers = { Authorization: `Bearer ${token}` };
  const client = new DICOMwebClient.api.DICOMwebClient({ url, headers });
  await import('/dicom-microscopy-viewer/dicomMicroscopyViewer.min.js');
  const { metadata, viewer } = window.dicomMicroscopyViewer;
  const found = await client.retrieveSeriesMetadata({
    studyInstanceUID: study, seriesInstanceUID: series,
  });
  const images = found.map((one) => new metadata.VLWholeSlideMicroscopyImage({ metadata: one }));
  const shown = new viewer.VolumeImageViewer({ client, metadata: images, controls: [] });
  shown.render({ container: 'viewport' });
}"""


def scripts(*paths: str) -> dict[str, bytes]:
    modules = node_folder() / "node_modules"
    return {f"/{path.rpartition('/')[2]}": (modules / path).read_bytes() for path in paths}


def page_with(*names: str) -> bytes:
    tags = "".join(f'<script src="/{name}"></script>' for name in names)
    viewport = '<div id="viewport" style="width: 600px; height: 460px"></div>'
    return f"<!DOCTYPE html><meta charset=utf-8>{viewport}{tags}".encode()


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "SC_rgb_small_odd.dcm"])
def test_dicomweb_client_and_dcmjs(dicom_store: DicomStore, page: Page, tmp_path, name):
    content = sample(name)
    dataset = read(content)
    made = scripts("dicomweb-client/build/dicomweb-client.js", "dcmjs/build/dcmjs.js")
    made["/index.html"] = page_with("dicomweb-client.js", "dcmjs.js")
    wanted = {
        "url": dicom_store.dicomweb_url,
        "token": dicom_store.token(),
        "content": base64.b64encode(content).decode(),
    }
    with serve(tmp_path, made) as address:
        page.goto(f"{address}/index.html")
        facts = page.evaluate(STORE_AND_READ, wanted)
    assert "<NativeDicomModel>" in facts["stored"]
    assert facts["uids"] == [
        dataset.StudyInstanceUID,
        dataset.SeriesInstanceUID,
        dataset.SOPInstanceUID,
    ]
    assert (facts["patient"], facts["rows"]) == (dataset.PatientID, dataset.Rows)
    assert (facts["studies"], facts["series"], facts["all"]) == (1, 1, 1)
    for name in ("pixels", "bulk"):
        assert base64.b64decode(facts[name]) == dataset.PixelData
    frame = dataset.pixel_array.tobytes()
    assert base64.b64decode(facts["frame"]) == frame
    picture = Image.open(io.BytesIO(base64.b64decode(facts["rendered"])))
    assert picture.size == (dataset.Columns, dataset.Rows)


def test_dicom_microscopy_viewer(slide: Slide, dicom_store: DicomStore, page: Page, tmp_path):
    made = scripts("dicomweb-client/build/dicomweb-client.js")
    made["/index.html"] = page_with("dicomweb-client.js")
    built = viewer_folder("dicom-microscopy-viewer") / "dist" / "dynamic-import"
    (tmp_path / "dicom-microscopy-viewer").symlink_to(built)
    # Here the viewer looks for its worker, wherever it comes from itself.
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "js").symlink_to(built)
    wanted = {
        "url": dicom_store.dicomweb_url,
        "token": dicom_store.token(),
        "study": slide.study,
        "series": slide.series,
    }
    with serve(tmp_path, made) as address:
        page.goto(f"{address}/index.html")
        page.evaluate(SHOW_SLIDE, wanted)
        expect(page.locator("#viewport canvas").first).to_be_visible()
        wait_for_picture(page.locator("#viewport"), slide.on_its_stage)
