"""Delivered exactly: what Pub/Sub may have lost is read again from the journal, by each lane from its own place."""
