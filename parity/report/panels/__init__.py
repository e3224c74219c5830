"""What a page shows of a run directory, as values: thinned, folded and chosen, ready to be written down."""
