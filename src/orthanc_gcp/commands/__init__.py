"""What a person does at a terminal: one module a command, and what they share.

Those about custody read the ledger themselves: they work while the worker is down. Heavy libraries
are imported when a command runs, so that ``orthanc-gcp --help`` is quick.
"""
