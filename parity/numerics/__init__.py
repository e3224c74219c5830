"""Number formats, their bits and their spacing; NumPy only."""
