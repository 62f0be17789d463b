"""`sparrow diversity`: instructions sampled, measured, drawn, and shown on a page; their numbers for `run.json`."""
