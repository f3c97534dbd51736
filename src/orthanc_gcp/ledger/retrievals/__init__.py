"""What is to come back from stores into Orthanc, and how far it is."""
