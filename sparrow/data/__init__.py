"""From records to batches: sources, mixtures, the plan, encoding, batching."""
