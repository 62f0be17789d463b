"""Constructed sets of instructions whose diversity is known."""

from random import Random

WORDS = ["".join(Random(seed).choices("abcdefghijklmnoprstuvw", k=5)) for seed in range(300)]


def instructions(num_templates, number=300, seed=0):
    """Templates of six words, each equally often, with one word that is always another."""
    rng = Random(seed)
    templates = [" ".join(rng.choices(WORDS, k=6)) for _ in range(num_templates)]
    return [f"What {templates[i % num_templates]} {rng.choice(WORDS)}?" for i in range(number)]
