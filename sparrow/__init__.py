"""Sparrow: what a mixture of rendered text and real video is worth to a video-LLM."""

__version__ = "0.1.0"
