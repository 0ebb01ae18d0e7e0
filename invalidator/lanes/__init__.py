"""Coalesced, purged and acknowledged: one lane for each backend. Nothing that one of them does stops another."""
