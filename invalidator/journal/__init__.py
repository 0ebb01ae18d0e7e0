"""The Stream that keeps what Pub/Sub may lose: its entries, its cursors, and what can go wrong with it."""
