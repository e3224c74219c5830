"""The questions: case files, the catalogue, programs of gradients, recordings, budgets, expectations."""
