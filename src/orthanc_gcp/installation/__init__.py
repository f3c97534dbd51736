"""Installing the plugin into an Orthanc that is there already, and taking it out again."""
