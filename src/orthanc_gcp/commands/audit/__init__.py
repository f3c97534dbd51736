"""The command ``orthanc-gcp audit``, and what it prints."""
