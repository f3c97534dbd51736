"""The ledger: what has to go where, how far it is, and the queue of all workers."""
