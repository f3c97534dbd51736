"""Apache Beam stores files in a DICOM store and searches it; its client knows Google only."""

import base64
import json
import sys
from pathlib import Path

import apache_beam as beam
from apache_beam.io.gcp.healthcare.dicomio import DicomSearch, UploadToDicomStore
from apache_beam.options.pipeline_options import PipelineOptions

wanted = json.load(sys.stdin)
files = [base64.b64decode(file) for file in wanted["files"]]
store = wanted["store"]
options = PipelineOptions(["--runner=FnApiRunner"])


def run(steps: beam.PTransform, given: list[object]) -> list[dict[str, object]]:
    """Run a pipeline; its results come by a file, as from any worker."""
    place = Path("results.jsonl")
    place.unlink(missing_ok=True)

    def keep(result: dict[str, object]) -> None:
        with place.open("a") as file:
            file.write(json.dumps(result) + "\n")

    with beam.Pipeline(options=options) as pipeline:
        _ = pipeline | beam.Create(given) | steps | beam.Map(keep)
    return [json.loads(line) for line in place.read_text().splitlines()]


stored = run(UploadToDicomStore(store, "bytes"), files)
searches = [{**store, "search_type": kind, "params": {"limit": 2}} for kind in wanted["kinds"]]
print(json.dumps({"stored": stored, "found": run(DicomSearch(), searches)}))
