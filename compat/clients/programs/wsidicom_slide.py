"""wsidicom reads each level of a slide as a whole, and a region of the first one."""

import json
import sys

import numpy as np
import requests
from dicomweb_client import DICOMwebClient
from wsidicom import WsiDicom, WsiDicomWebClient

wanted = json.load(sys.stdin)
session = requests.Session()
session.headers["Authorization"] = f"Bearer {wanted['token']}"
client = WsiDicomWebClient(DICOMwebClient(wanted["dicomweb"], session=session))
syntaxes = wanted.get("syntaxes")
with WsiDicom.open_web(client, wanted["study"], wanted["series"], syntaxes) as slide:
    pyramid = slide.pyramids[0]
    for number, level in enumerate(pyramid):
        size = (level.size.width, level.size.height)
        image = slide.read_region((0, 0), level.level, size)
        np.save(f"level-{number}.npy", np.asarray(image.convert("RGB")))
    np.save("region.npy", np.asarray(slide.read_region((200, 100), 0, (300, 200)).convert("RGB")))
    tile = slide.read_encoded_tile(0, (1, 1))
    print(json.dumps({"levels": len(pyramid), "tile": tile.hex()}))
