"""The gateway as a process that Orthanc starts."""
