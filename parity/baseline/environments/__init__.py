"""Isolated environments of other releases: found, built, kept and asked who they are."""
