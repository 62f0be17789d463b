"""Instructions as texts: what users ask, how diverse it is, and the selection of samples by it."""
