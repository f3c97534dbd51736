"""The configuration that the emulator's guide shows, in a real Orthanc."""

from __future__ import annotations

import json

from orthanc_gcp.emulator.server import Emulator, Options
from tests.emulator.test_emulator_guide import blocks
from tests.integration.conftest import query
from tests.integration.test_round_trip import sample


def test_orthanc_stores_in_the_emulator(orthanc, tmp_path):
    (text,) = blocks("json")
    folder = tmp_path / "credentials"
    with Emulator(Options(tmp_path / "data", write_credentials=folder)) as emulator:
        text = text.replace("http://127.0.0.1:8085", emulator.url)
        instance = orthanc(json.loads(text.replace("/path/to/credentials", str(folder))))
        instance.wait_for_servers("my-google")
        uploaded = instance.json("POST", "/instances", sample(tmp_path, "CT_small.dcm"))
        body = {"Resources": [uploaded["ID"]], "Synchronous": True}
        instance.json("POST", "/dicom-web/servers/my-google/stow", body)
        assert len(query(instance, PatientID="1CT1")) == 1
        instance.stop()
