"""The way back: what somebody wants from a store is brought into Orthanc, and shown to be there.

As sending, it is in the ledger and nowhere else: whatever dies meanwhile, it goes on. It ends when
Orthanc has all that the store lists, or with what is missing and why.
"""
