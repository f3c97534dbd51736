"""The worker: the process that has custody of what Orthanc receives."""
