"""Orthanc, seen from outside: how it is installed, and who runs it."""
