"""large-image opens a slide by its DICOMweb source, and reads it tile by tile."""

import json
import sys

import large_image_source_dicom
import numpy as np
import requests

wanted = json.load(sys.stdin)
session = requests.Session()
session.headers["Authorization"] = f"Bearer {wanted['token']}"
source = large_image_source_dicom.open(
    {
        "url": wanted["dicomweb"],
        "study_uid": wanted["study"],
        "series_uid": wanted["series"],
        "session": session,
    }
)
metadata = source.getMetadata()
image = np.zeros((metadata["sizeY"], metadata["sizeX"], 3), np.uint8)
for tile in source.tileIterator(format="numpy"):
    pixels = tile["tile"][: tile["height"], : tile["width"], :3]
    image[tile["y"] : tile["y"] + tile["height"], tile["x"] : tile["x"] + tile["width"]] = pixels
np.save("level-0.npy", image)
internal = source.getInternalMetadata()
print(json.dumps({**metadata, "patient": internal["dicom_meta"].get("Patient ID")}, default=str))
