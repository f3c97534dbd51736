"""What a person does with custody at a terminal: commands that read the ledger themselves.

They work while the worker is down. Heavy libraries are imported when a command runs, so that
``orthanc-gcp --help`` is quick. Exit code 2: the command could not do what it is for.
"""
