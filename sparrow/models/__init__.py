"""Families of image-LLMs behind one interface: loading, tokens, pixels, tuning, tiny siblings."""
