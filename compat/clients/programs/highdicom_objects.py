"""highdicom makes a segmentation of an image and a report; dicomweb-client stores and fetches."""

import json
import sys

import highdicom as hd
import numpy as np
import requests
from dicomweb_client import DICOMwebClient
from pydicom import dcmread
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

wanted = json.load(sys.stdin)
session = requests.Session()
session.headers["Authorization"] = f"Bearer {wanted['token']}"
client = DICOMwebClient(wanted["dicomweb"], session=session)
source = dcmread(wanted["file"])
mask = source.pixel_array > np.median(source.pixel_array)
segment = hd.seg.SegmentDescription(
    segment_number=1,
    segment_label="bright",
    segmented_property_category=codes.SCT.Tissue,
    segmented_property_type=codes.SCT.Bone,
    algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
)


def segmentation(kind: hd.seg.SegmentationTypeValues, syntax: str) -> hd.seg.Segmentation:
    """Return a segmentation in a series of its own."""
    return hd.seg.Segmentation(
        source_images=[source],
        pixel_array=mask,
        segmentation_type=kind,
        segment_descriptions=[segment],
        series_instance_uid=hd.UID(),
        series_number=2,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="Nobody",
        manufacturer_model_name="None",
        software_versions="1",
        device_serial_number="1",
        transfer_syntax_uid=syntax,
    )


types = hd.seg.SegmentationTypeValues
facts = {}
for name, kind, syntax in (
    ("binary", types.BINARY, ExplicitVRLittleEndian),
    ("fractional", types.FRACTIONAL, RLELossless),
    ("labelmap", types.LABELMAP, RLELossless),
):
    made = segmentation(kind, syntax)
    client.store_instances([made])
    uids = made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID
    stored = hd.seg.Segmentation.from_dataset(client.retrieve_instance(*uids))
    pixels = stored.get_pixels_by_source_instance([source.SOPInstanceUID])
    (frame,) = client.retrieve_instance_frames(*uids, [1])
    facts[name] = {
        "same": bool((np.squeeze(pixels) == mask).all()),
        "syntax": stored.file_meta.TransferSyntaxUID,
        "label": stored.get_segment_description(1).segment_label,
        "frame": len(frame),
    }
print(json.dumps(facts))
