"""What the ledger says to people and programs, and what they may do with the transfers.

State is typed; ``as_json`` gives what is shown to programs: PascalCase, times in UTC by ISO 8601,
no patient data.
"""
