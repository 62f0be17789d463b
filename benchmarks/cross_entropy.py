"""Peak memory and processor time of the loss of a long sequence, with all of its logits at once and in chunks."""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from multiprocessing.connection import Connection

import torch
from torch import nn

from sparrow.training.losses import CHUNK_TOKENS, chunked_cross_entropy

WIDTH, VOCABULARY = 1024, 49_152


def measure(tokens: int, chunk_tokens: int, results: Connection) -> None:
    """Send processor seconds and MB beyond those of weights and hidden states, forwards and backwards."""
    torch.manual_seed(0)
    head = nn.Linear(WIDTH, VOCABULARY, bias=False)
    head.weight.grad = torch.zeros_like(head.weight)
    hidden, targets = torch.randn(tokens, WIDTH, requires_grad=True), torch.randint(0, VOCABULARY, (tokens,))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    loss = chunked_cross_entropy(head, hidden, targets, chunk_tokens).mean()
    loss.backward()
    seconds = time.process_time() - began
    results.send((seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, loss.item()))


def main() -> None:
    """Print a line for each way, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=4096)
    tokens = parser.parse_args().tokens
    print(f"{tokens} tokens, width {WIDTH}, vocabulary {VOCABULARY}; logits: {tokens * VOCABULARY / 2**18:.0f} MB")
    context = multiprocessing.get_context("spawn")
    for name, chunk in (("all at once", tokens), (f"chunks of {CHUNK_TOKENS}", CHUNK_TOKENS), ("chunks of 256", 256)):
        ours, theirs = context.Pipe()
        process = context.Process(target=measure, args=(tokens, chunk, theirs))
        process.start()
        seconds, megabytes, loss = ours.recv()
        process.join()
        print(f"{name}: {seconds:.1f} s, {megabytes:,.0f} MB, loss {loss:.5f}")


if __name__ == "__main__":
    main()
