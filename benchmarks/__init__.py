"""What it costs, side by side: each run measures us and our peers in turn, in the same minutes. See README.md."""
