"""What the Hydra entry points share: the schema, its checks, run names, parents and error messages."""
