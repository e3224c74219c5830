"""The library's front for what another release changes: upgrade, bisect, matrix."""
