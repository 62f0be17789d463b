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
