"""Nouns and helpers that every room shares; the standard library and NumPy only."""
