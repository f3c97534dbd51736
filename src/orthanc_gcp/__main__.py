"""``python -m orthanc_gcp`` is the command ``orthanc-gcp``."""

from orthanc_gcp.cli import app

app(prog_name="orthanc-gcp")
