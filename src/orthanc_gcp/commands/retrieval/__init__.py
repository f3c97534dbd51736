"""``orthanc-gcp query`` and ``retrieve``: the way back from a store."""
