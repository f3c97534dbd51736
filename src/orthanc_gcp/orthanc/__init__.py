"""Orthanc, seen from outside."""
