"""What goes wrong: one class for each fault, listed in `registry`."""
