"""Benchmarks are answered alike through a shared cache and one by one, whatever the family."""

from collections import defaultdict
from dataclasses import replace

import pytest
import torch

from sparrow.core.samples import Message, Sample, Text, Video
from sparrow.data.encode import Presentation, encode
from sparrow.evaluation.engine import Protocol, answer
from sparrow.evaluation.run_benchmarks import Evaluator
from sparrow.evaluation.units import Units, group_into_units


@pytest.fixture(scope="session")
def questions(settings):
    """Questions of several lengths about one clip, and the folder of the clip."""
    config = settings("benchmark=[world/short]")
    evaluator = Evaluator(config)
    asked, root = evaluator.questions("world_short")
    texts = ("What is it?", "Which colour has the shape that moves?", "And where does it go at last, left or right?")
    return [replace(asked[0], id=f"q{i}", question=text) for i, text in enumerate(texts)], root


def asked(backbone, questions, scoring):
    how = Protocol(scoring=scoring, show_options=False, max_new_tokens=5, presentation=Presentation())
    about, root = questions
    units = Units(group_into_units(about, root, how), backbone, root, how, "b")
    answers = answer(units, defaultdict(str))
    return {p.question_id: p for unit in answers for p in unit}


def encoded(backbone, question, root, reply=None):
    messages = [Message("user", (Video(question.video), Text(question.question)))]
    if reply is not None:
        messages.append(Message("assistant", (Text(reply),)))
    return encode(
        Sample("q", "b", tuple(messages)), root, backbone, Presentation(), add_generation_prompt=reply is None
    )


def test_replies_are_those_without_a_cache(backbone, questions):
    predictions = asked(backbone, questions, "generate")
    for question in questions[0]:
        sample = encoded(backbone, question, questions[1])
        ids = sample.input_ids[None]
        with torch.inference_mode():
            for _ in range(5):
                step = backbone.forward(ids, None, sample.frames, logits_to_keep=1).logits[:, -1].argmax(-1)
                ids = torch.cat([ids, step[:, None]], dim=1)
                if step == backbone.tokenizer.eos_token_id:
                    break
        reply = backbone.tokenizer.decode(ids[0, len(sample.input_ids) :], skip_special_tokens=True).strip()
        assert predictions[question.id].reply == reply


def test_likelihoods_are_those_without_a_cache(backbone, questions):
    predictions = asked(backbone, questions, "option_likelihood")
    for question in questions[0]:
        expected = []
        for option in question.options:
            sample = encoded(backbone, question, questions[1], option)
            with torch.inference_mode():
                logits = backbone.forward(sample.input_ids[None], None, sample.frames).logits[0].log_softmax(-1)
            places = [
                i
                for i in (sample.labels >= 0).nonzero().squeeze(1).tolist()
                if sample.input_ids[i] != backbone.tokenizer.eos_token_id
            ]
            expected.append(sum(float(logits[i - 1, sample.input_ids[i]]) for i in places) / len(places))
        assert predictions[question.id].likelihoods == pytest.approx(expected, abs=1e-4)
