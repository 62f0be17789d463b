"""Which chat template a checkpoint is used with, Sparrow's or its own, compared before any data is planned."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from sparrow.core.errors import BackboneError, DataError
from sparrow.models.backbone import Backbone
from sparrow.models.chat import ANSWER_BEGINS, ANSWER_ENDS, THOUGHT_ENDS, ChatTemplate, TemplateChoice, with_marks
from sparrow.models.settings import Template

FRAME_SIZE = (180, 320)
NUM_FRAMES = 3
PROBE: list[dict[str, Any]] = [
    {"role": "user", "content": [*[{"type": "image"}] * NUM_FRAMES, {"type": "text", "text": "What colour is it?"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "It is red."}]},
    {"role": "user", "content": [{"type": "text", "text": "And the shape?"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "A circle"}]},
]
SYSTEM = {"role": "system", "content": [{"type": "text", "text": "Answer in a word."}]}
CHATS = {"prompt": (PROBE[:1], True), "chat": (PROBE, False), "chat with a system turn": ([SYSTEM, *PROBE[:2]], False)}
FRAMES = NUM_FRAMES * [np.full((*FRAME_SIZE, 3), 128, dtype=np.uint8)]
MARKERS = re.compile(r"<[^<>\s]+>")
CONTEXT_TOKENS = 4
BELONG = "take the tokenizer and configuration that belong together"


@dataclass(frozen=True)
class _Own:
    """A checkpoint's own template, the probes' token ids by it, and why answers cannot be found in it."""

    template: ChatTemplate
    ids: dict[str, list[int]]
    without_answers: str | None


def choose_template(
    backbone: Backbone, own: str | None, choice: Template | None, thinking: bool | None, checkpoint: str
) -> TemplateChoice:
    """Let a backbone write chats by the template that is meant, and compare it with the checkpoint's `own`.

    Sparrow's where both give the same tokens, else the checkpoint's own, if answers can be found in it.

    Raises:
        BackboneError: If the template's markers are no tokens of the checkpoint, or it cannot be used as it is meant.
    """
    options = {} if thinking is None else {"enable_thinking": thinking}
    ours = replace(backbone.template, options=options)
    if own is None and choice == "checkpoint":
        raise BackboneError(f"backbone.template=checkpoint: {checkpoint!r} has no chat template; set it to sparrow")
    if own is None or own == ours.jinja:
        return _use(backbone, ours, TemplateChoice("sparrow", own=own is not None), checkpoint)
    try:
        theirs = _read_own(backbone, replace(ours, jinja=own, marks_answers=False))
    except (DataError, TypeError, ValueError) as error:
        problem = f"the checkpoint's own chat template cannot be rendered for its processor ({error})"
        if choice == "sparrow":
            return _use(backbone, ours, TemplateChoice("sparrow", problem), checkpoint)
        raise BackboneError(f"{checkpoint!r}: {problem}; set backbone.template=sparrow") from error
    unknown = _unknown_tokens(backbone, ours)
    differing = {"prompt": f"{unknown[0]!r} is no token of the checkpoint"} if unknown else None
    differing = differing or _differences(backbone, ours, theirs)
    difference: str | None = next(iter(differing.values()), None)
    refusal = None
    if choice is None and "prompt" not in differing and (not differing or backbone.known_difference):
        choice = "sparrow"
        difference = f"{difference}: {backbone.known_difference}" if differing else None
    if choice is None and theirs.without_answers is not None:
        choice = "checkpoint" if "prompt" in differing else "sparrow"
        refusal = (
            f"the chat template of {checkpoint!r} differs from Sparrow's ({difference}), and answers cannot be found "
            f"in it: {theirs.without_answers}; set backbone.template=sparrow to train with Sparrow's"
        )
    made = TemplateChoice(choice or "checkpoint", difference, refusal)
    if made.template == "sparrow":
        return _use(backbone, ours, made, checkpoint)
    unusable = None if refusal else theirs.without_answers
    if unusable is None and backbone.native_video:
        unusable = "it has no place for the times of native videos"
    if unusable is None and (miscounted := _differences(backbone, theirs.template, theirs)):
        unusable = f"its frames are counted otherwise than its processor does: {next(iter(miscounted.values()))}"
    if unusable is not None:
        raise BackboneError(
            f"the chat template of {checkpoint!r} cannot be used: {unusable}; set backbone.template=sparrow"
        )
    return _use(backbone, theirs.template, made, checkpoint)


def _use(backbone: Backbone, template: ChatTemplate, choice: TemplateChoice, checkpoint: str) -> TemplateChoice:
    opens_thoughts = THOUGHT_ENDS in template.lead + template.prompt_end or "enable_thinking" in template.jinja
    if template.options.get("enable_thinking") and not opens_thoughts:
        raise BackboneError(
            f"backbone.thinking=true: the chat template in use ('{choice.template}') of {checkpoint!r} begins no "
            "thought; set it to null, or take a checkpoint that thinks"
        )
    unknown = _unknown_tokens(backbone, template)
    if unknown:
        own = (
            "set backbone.template=checkpoint to use its own"
            if choice.own
            else "copy its own chat_template.jinja there"
        )
        other = f", or {own}" if choice.template == "sparrow" else ""
        raise BackboneError(
            f"{unknown[0]!r}, which the chat template in use ('{choice.template}') writes, is no single token of "
            f"tokenizer.json in {checkpoint!r} within the {backbone.vocabulary_size} of its config.json; "
            f"{BELONG}{other}"
        )
    added = backbone.tokenizer.added_tokens_decoder
    special = {number for number, token in added.items() if token.special}  # which no text may hold
    last = max(number for number in backbone.tokenizer.get_vocab().values() if number not in special)
    if last >= backbone.vocabulary_size:
        raise BackboneError(
            f"tokenizer.json in {checkpoint!r} has tokens up to the id {last}, its config.json a vocabulary of "
            f"{backbone.vocabulary_size}; {BELONG}"
        )
    backbone.use_template(template)
    return choice


def _read_own(backbone: Backbone, template: ChatTemplate) -> _Own:
    """The checkpoint's own template, `template` without where its answers end, with what its processor makes of it."""
    tokenizer, without_answers = backbone.tokenizer, None
    prompt = template.text(PROBE[:1], tokenizer, prompt=True)
    before, _, rest = template.text([PROBE[0], with_marks(PROBE[1])], tokenizer).partition(ANSWER_BEGINS)
    answer, _, after = rest.partition(ANSWER_ENDS)
    added = [str(token) for token in tokenizer.added_tokens_decoder.values()]
    end = max((token for token in added if after.startswith(token)), key=len, default=None)
    if answer != PROBE[1]["content"][0]["text"] or end is None:
        without_answers = "no control token stands behind an answer"
    elif not before.startswith(prompt):
        without_answers = "what stands before an answer is not the prompt of a reply"
    else:
        lead = before[len(prompt) :]
        closes_thought = template.options.get("enable_thinking") is False and THOUGHT_ENDS in lead
        prompt_end, lead = (lead, "") if closes_thought else ("", lead)
        template = replace(template, end_of_turn=end, prompt_end=prompt_end, lead=lead)
    images = [[Image.fromarray(frame) for frame in FRAMES]]
    ids = {}
    for name, (chat, as_prompt) in CHATS.items():
        try:
            text = template.text(chat, tokenizer, prompt=as_prompt)
        except DataError:
            if chat[0] is not SYSTEM:
                raise
            continue  # said of the samples that have one
        begun = bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)
        made = backbone.processor(text=[text], images=images, add_special_tokens=not begun)
        ids[name] = [int(token) for token in made["input_ids"][0]]
    return _Own(template, ids, without_answers)


def _unknown_tokens(backbone: Backbone, template: ChatTemplate) -> list[str]:
    """Markers that a template writes, or frames become, which are not one token each that the model has a row for."""
    tokenizer, rows = backbone.tokenizer, backbone.vocabulary_size
    markers = [template.end_of_turn]
    if template.marks_answers:
        markers += MARKERS.findall(template.text(PROBE, tokenizer, prompt=True))
    ids = {marker: tokenizer.encode(marker, add_special_tokens=False) for marker in markers}
    unknown = [marker for marker, found in ids.items() if len(found) != 1 or found[0] >= rows]
    try:
        frame: set[int | None] = {
            *backbone.frame_token_ids(backbone.prepared_size(FRAME_SIZE)),
            backbone.image_token_id,
        }
    except (AttributeError, TypeError):  # a named token that the tokenizer lacks
        frame = {None}
    if frame & {None, tokenizer.unk_token_id}:
        unknown.append("a marker of frames")
    unknown += [str(tokenizer.convert_ids_to_tokens(i)) for i in frame if i is not None and i >= rows]
    return unknown


def _differences(backbone: Backbone, template: ChatTemplate, theirs: _Own) -> dict[str, str]:
    """By probe, the first tokens in which a template differs from the checkpoint's own processor and template."""
    before, found = backbone.template, {}
    backbone.use_template(template)
    for name, there in theirs.ids.items():
        chat, as_prompt = CHATS[name]
        # Of its own template the frames are counted; a system turn that it leaves out is told with the sample.
        if template is theirs.template and (chat[0] is SYSTEM or (theirs.without_answers and not as_prompt)):
            continue
        sizes = [FRAME_SIZE] * NUM_FRAMES
        ours = backbone.tokenize_chat(chat, sizes, add_generation_prompt=as_prompt).input_ids.tolist()
        if ours != there:
            pairs = zip(ours, there, strict=False)
            place = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(ours), len(there)))
            around = slice(max(0, place - CONTEXT_TOKENS), place + CONTEXT_TOKENS)
            words = [repr(backbone.tokenizer.decode(ids[around])) for ids in (ours, there)]
            found[name] = (
                f"at token {place} of a probe's {name} Sparrow writes {words[0]}, its own processor {words[1]}"
            )
    backbone.use_template(before)
    return found
