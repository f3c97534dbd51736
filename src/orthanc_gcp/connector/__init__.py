"""What keeps each account's token and server definition right, in Orthanc or beside it."""
