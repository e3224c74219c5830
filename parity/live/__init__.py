"""What touches a user's own process: optimizers that take another framework's convention."""
