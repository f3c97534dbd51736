"""What a store has received comes into Orthanc by itself, as its notifications say so."""
