"""Modalities that Orthanc knows: whether they answer, and how fast."""
