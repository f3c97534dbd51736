"""What Orthanc itself is asked, answered from it and from a store: `AnswerForOrthanc`."""
