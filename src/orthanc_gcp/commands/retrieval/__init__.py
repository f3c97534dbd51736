"""``orthanc-gcp query``, ``retrieve`` and ``gateway``: the ways back from a store."""
