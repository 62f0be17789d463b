"""The Hydra configuration of Sparrow, as a package so that it ships inside the wheel."""
