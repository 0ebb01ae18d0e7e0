"""The message's path: arrives, decoded, coalesced, dispatched, purged, acknowledged. One file for each step."""
