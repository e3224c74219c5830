"""Distances between two traces, and what an expectation makes of them."""
