"""A chat of two turns about two frames, and the family's own processor run on it."""

from __future__ import annotations

import torch
from PIL import Image

CHAT = [
    {"role": "user", "content": [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "What colour is it?"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "red"}]},
    {"role": "user", "content": [{"type": "text", "text": "And the shape?"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "circle"}]},
]
OTHER_CHAT = [
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Which way does it move?"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "it moves left"}]},
]
TEXT_CHAT = [
    {"role": "user", "content": [{"type": "text", "text": "Say a colour."}]},
    {"role": "assistant", "content": [{"type": "text", "text": "blue"}]},
]


def processed(backbone, chat, frames, processor=None):
    """Model inputs that the family's processor makes."""
    text = backbone.tokenizer.apply_chat_template(chat, tokenize=False)
    images = [[Image.fromarray(frame) for frame in frames]]
    processor = processor or backbone.processor
    return processor(text=[text], images=images, return_tensors="pt", add_special_tokens=False)


def encoded(backbone, chat, frames):
    """Token ids [n], labels [n] and prepared frames, as training makes them."""
    tokens = backbone.tokenize_chat(chat, [frame.shape[:2] for frame in frames])
    ids = torch.from_numpy(tokens.input_ids)
    return ids, ids.where(torch.from_numpy(tokens.supervised), -100), backbone.prepare_frames(frames)


def assert_same_loss_and_gradients(backbone, inputs, ids, labels, prepared):
    """The adapter gives what the transformers model gives for the inputs of the family's processor."""
    backbone.model.zero_grad()
    expected = backbone.model(**inputs, labels=labels[None]).loss
    expected.backward()
    theirs = {n: p.grad.clone() for n, p in backbone.model.named_parameters() if p.grad is not None}
    backbone.model.zero_grad()
    logits = backbone.forward(ids[None], None, prepared).logits
    loss = torch.nn.functional.cross_entropy(logits[0, :-1], labels[1:])
    loss.backward()
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    ours = {n: p.grad for n, p in backbone.model.named_parameters() if p.grad is not None}
    backbone.model.zero_grad()
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
