"""Arrives: one subscription to one pattern, proven end to end, or declared a Gap."""
