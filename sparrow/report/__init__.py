"""The report over folders of runs, rebuilt from what is on disk."""
