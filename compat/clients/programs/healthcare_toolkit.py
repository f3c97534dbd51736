"""Google's toolkit for imaging stores files, and metadata with bulk data; searches and deletes."""

import io
import json
import sys
from pathlib import Path

import pydicom
from google.oauth2 import service_account
from hcls_imaging_ml_toolkit import dicom_json, dicom_web

wanted = json.load(sys.stdin)
credentials = service_account.Credentials.from_service_account_file(
    wanted["credentials"], scopes=["https://www.googleapis.com/auth/cloud-platform"]
)
client = dicom_web.DicomWebClientImpl(credentials)
store = wanted["dicomweb"]
content = Path(wanted["file"]).read_bytes()
client.StowRs(f"{store}/studies", [content])
dataset = pydicom.dcmread(io.BytesIO(content))
path = (
    f"{store}/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}"
    f"/instances/{dataset.SOPInstanceUID}"
)
kind = 'multipart/related; type="application/{}"; transfer-syntax=*'
facts = {
    "file": client.WadoRs(path, kind.format("dicom")) == content,
    "frame": client.WadoRs(f"{path}/frames/1", kind.format("octet-stream")) == dataset.PixelData,
}
made = dataset.to_json_dict()
made.pop("7FE00010")
made["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
made["00020010"] = {"vr": "UI", "Value": ["1.2.840.10008.1.2.1"]}
made["00080018"] = {"vr": "UI", "Value": [pydicom.uid.generate_uid()]}
made["7FE00010"] = {"vr": "OW", "BulkDataURI": "the-pixels"}
bulk = dicom_json.DicomBulkData("the-pixels", dataset.PixelData, "application/octet-stream")
client.StowRsJson(f"{store}/studies", [made], [bulk])
study = f"{store}/studies/{dataset.StudyInstanceUID}"
# With the slash that Google's own samples put before the question mark.
found = client.QidoRs(f"{study}/instances/?includefield=all&limit=10")
facts["instances"] = sorted(one["00080018"]["Value"][0] for one in found)
facts["expected"] = sorted([dataset.SOPInstanceUID, made["00080018"]["Value"][0]])
client.DeleteRs(study)
facts["left"] = client.QidoRs(f"{study}/instances")
print(json.dumps(facts))
