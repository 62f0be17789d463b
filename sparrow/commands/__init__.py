"""The commands: settings in, files out."""
