"""Types, errors, configuration schema, hashing and file writing that every other layer stands on."""
