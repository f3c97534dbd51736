"""EZ-WSI-DICOMweb finds a slide in a store, and reads levels, patches and frames of it."""

import json
import sys
from pathlib import Path

import numpy as np
from ez_wsi_dicomweb import credential_factory, dicom_slide, dicom_web_interface
from ez_wsi_dicomweb.ml_toolkit import dicom_path

wanted = json.load(sys.stdin)
credentials = credential_factory.CredentialFactory(wanted["credentials"])
web = dicom_web_interface.DicomWebInterface(credentials)
address = f"{wanted['dicomweb']}/studies/{wanted['study']}/series/{wanted['series']}"
path = dicom_path.FromString(address)
slide = dicom_slide.DicomSlide(web, path)
facts = {"levels": 0, "icc": slide.get_icc_profile_bytes().hex(), "studies": []}
for level in slide.levels:
    np.save(f"level-{facts['levels']}.npy", slide.get_image(level).image_bytes())
    facts["levels"] += 1
patch = slide.get_patch(slide.native_level, 200, 100, 300, 200)
np.save("region.npy", patch.image_bytes())
facts["frames"] = list(patch.frame_numbers())
for found in web.get_studies(path.GetStorePath()):
    facts["studies"].append(found.study_instance_uid)
first = next(iter(slide.native_level.instances.values())).dicom_object.path
frames = web.download_instance_frames_untranscoded(first, 1, 3)
facts["encoded"] = [frame.hex() for frame in frames]
facts["decoded"] = web.get_frame_image(
    first, 2, dicom_web_interface.TranscodeDicomFrame.UNCOMPRESSED_LITTLE_ENDIAN
).hex()
with Path("instance.dcm").open("wb") as file:
    web.download_instance_untranscoded(first, file)
facts["series"] = sum(1 for _ in web.download_series(path, "*"))
slide.init_slide_frame_cache()
slide.preload_patches_in_frame_cache([patch])
np.save("cached.npy", slide.get_patch(slide.native_level, 200, 100, 300, 200).image_bytes())
print(json.dumps(facts))
