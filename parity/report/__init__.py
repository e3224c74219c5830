"""From tables and values to text; computes nothing."""
