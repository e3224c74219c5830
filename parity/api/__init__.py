"""The library's front: what the command line, pytest and a user's script ask for."""
