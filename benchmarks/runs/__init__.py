"""The runs: each file measures one thing, in `RUNS`; registry.py has them all."""
