"""What a person does at a terminal: one module a command, and what they share.

Those about custody read the ledger themselves: they work while the worker is down. A module imports
little more than click; a command imports what it needs when it runs, so that ``orthanc-gcp --help``
and the completion of the shell are quick.
"""
