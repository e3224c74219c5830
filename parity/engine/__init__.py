"""Plan, worker processes, transport and the comparison that runs beside them."""
