"""One file a framework; the only room where a framework is imported, and only inside functions."""
