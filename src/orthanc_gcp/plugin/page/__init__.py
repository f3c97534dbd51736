"""The page ``/gcp/app/`` in Orthanc, and the way to it from Orthanc Explorer."""
