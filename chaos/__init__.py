"""The proof of the README's promises: load, faults, and an oracle. `python -m chaos --help`."""
