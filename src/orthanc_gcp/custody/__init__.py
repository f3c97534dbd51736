"""Custody: what Orthanc receives is in Google's store, proven, whatever happens in between.

The ledger has a row for each instance and destination. The follower writes rows from Orthanc's
``/changes``; the dispatcher claims batches of them; a thread sends each batch to the store,
records the answer by SOP Instance UID, and reads back what the store has. Nothing is called
sent because a request returned 200, and nothing is forgotten because a process died.
"""
