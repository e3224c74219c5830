"""What was yesterday, and what another release makes of it: isolated environments, and traces recorded in them."""
