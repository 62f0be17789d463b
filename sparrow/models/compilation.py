"""Compiling a backbone block by block, which takes seconds where the whole model takes minutes."""

from __future__ import annotations

from sparrow.models.backbone import Backbone


def compile_blocks(backbone: Backbone) -> None:
    """Let torch compile each transformer block at its first use; names of parameters stay.

    It is compiled for rows of any length and any number of samples.
    Blocks of one kind share their code ("regional compilation").
    """
    for block in backbone.blocks():
        block.compile(dynamic=True)
