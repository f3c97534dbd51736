"""A proxy that moves instance by instance, to compare with: a script for Orthanc.

It does what dicom-dicomweb-proxy of the Orthanc team does for a C-MOVE (release 2024-10): the
DICOMweb server is asked for the metadata of the study; then each instance is retrieved into this
Orthanc by a job of the DICOMweb plugin, and sent by a job of Orthanc to the modality, over an
association of its own; in the end all of them are deleted here. That program needs a newer Python
plugin than Debian 12 has, for callbacks that are called once for each instance; this one does the
same in the one callback that there is.
"""

import json
from typing import Any

import orthanc

SERVER = "store"


def move(**request: str) -> None:
    modality = modality_of(request["TargetAET"])
    moved = []
    for uids in listed(request["StudyInstanceUID"]):
        resources = {"Resources": [dict(zip(("Study", "Series", "Instance"), uids, strict=True))]}
        ask(f"/dicom-web/servers/{SERVER}/retrieve", resources)
        moved.append(orthanc.LookupInstance(uids[-1]))
        ask(f"/modalities/{modality}/store", {"Resources": [moved[-1]]})
    ask("/tools/bulk-delete", {"Resources": moved})


def listed(study: str) -> list[list[str]]:
    question = {"Uri": f"studies/{study}/metadata", "HttpHeaders": {"Accept": "application/json"}}
    tags = ("0020000D", "0020000E", "00080018")
    found = ask(f"/dicom-web/servers/{SERVER}/get", question)
    return [[one[tag]["Value"][0] for tag in tags] for one in found]


def modality_of(aet: str) -> str:
    modalities = json.loads(orthanc.RestApiGet("/modalities?expand"))
    return next(name for name, one in modalities.items() if one["AET"] == aet)


def ask(path: str, question: dict[str, Any]) -> Any:
    return json.loads(orthanc.RestApiPostAfterPlugins(path, json.dumps(question)) or b"null")


orthanc.RegisterMoveCallback(move)
