"""Which Adam is this? Probes a target, fits what it shows, and names the rule it follows."""
