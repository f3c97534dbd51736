"""Cloud Storage: a folder that stands for ``gs://``, and its JSON API over that folder."""
