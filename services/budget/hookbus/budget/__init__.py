"""The budget service: a ledger of holds and charges whose limits hold at any concurrency."""
