"""``orthanc-gcp quarantine`` and ``retry``: what needs a person, and what becomes of it."""
