"""A procedural world of moving shapes, written as files in the schemas of real sources."""
