"""Pure functions from a record in its publisher's schema to a Sample, one a schema."""
