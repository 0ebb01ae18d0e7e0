"""A worker: what its subscription brings is taken in, decoded, and dispatched to its lanes. One file for each step."""
