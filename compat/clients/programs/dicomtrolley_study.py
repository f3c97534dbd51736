"""dicomtrolley finds a study down to its instances, and downloads it."""

import json
import sys

import requests
from dicomtrolley.core import QueryLevels
from dicomtrolley.qido_rs import HierarchicalQuery, QidoRS, RelationalQuery
from dicomtrolley.trolley import Trolley
from dicomtrolley.wado_rs import WadoRS

wanted = json.load(sys.stdin)
session = requests.Session()
session.headers["Authorization"] = f"Bearer {wanted['token']}"
store = wanted["dicomweb"]
trolley = Trolley(searcher=QidoRS(session, store), downloader=WadoRS(session, store))
patient = {"PatientID": wanted["patient"]}
studies = trolley.find_studies(HierarchicalQuery(query_level=QueryLevels.STUDY, **patient))
series = trolley.find_studies(RelationalQuery(query_level=QueryLevels.SERIES, **patient))
files = list(trolley.fetch_all_datasets(series))
facts = {
    "studies": [study.uid for study in studies],
    "series": [one.uid for study in series for one in study.series],
    "instances": [file.SOPInstanceUID for file in files],
    "pixels": [file.PixelData.hex() for file in files],
}
print(json.dumps(facts))
