from collections import defaultdict

import pytest
import torch

from sparrow.core.samples import Message, Sample, Text, Video
from sparrow.data.encode import Presentation, encode
from sparrow.evaluation import engine, prompts
from sparrow.evaluation.engine import Protocol, answer
from sparrow.evaluation.questions import Question, read_questions
from sparrow.evaluation.run_benchmarks import Evaluator
from sparrow.evaluation.units import Units, group_into_units
from sparrow.models.loading import load_backbone


@pytest.fixture(scope="module")
def backbone(tiny_checkpoint):
    return load_backbone(str(tiny_checkpoint("idefics3")), frame_size_px=64)


@pytest.fixture(scope="module")
def benchmark(settings):
    config = settings("benchmark=[world/short]")
    return Evaluator(config)


@pytest.fixture(scope="module")
def questions(benchmark):
    asked, root = benchmark.questions("world_short")
    return asked[:4], root


def protocol(scoring="option_likelihood", **changes):
    settings = {"show_options": scoring != "option_likelihood", "max_new_tokens": 6, "presentation": Presentation()}
    return Protocol(scoring=scoring, **(settings | changes))


def ask(backbone, questions, how):
    asked, root = questions
    units = Units(group_into_units(asked, root, how), backbone, root, how, "b")
    answers = answer(units, defaultdict(str))
    return [p for unit in answers for p in unit]


def evaluate(benchmark, backbone, folder):
    benchmark.answer("world_short", backbone, "m", folder, "after")
    return benchmark.collect("m", folder, "after")["world_short"]


def naive_likelihood(backbone, root, question, reply):
    """One sequence at a time, without a cache or a shared prefix."""
    messages = (
        Message("user", (Video(question.video), Text(question.question))),
        Message("assistant", (Text(reply),)),
    )
    sample = encode(Sample("q", "b", messages), root, backbone, Presentation())
    with torch.inference_mode():
        logits = backbone.forward(sample.input_ids[None], None, sample.frames).logits[0].log_softmax(-1)
    places = (sample.labels >= 0).nonzero().squeeze(1).tolist()
    places = [i for i in places if sample.input_ids[i] != backbone.tokenizer.eos_token_id]
    return sum(float(logits[i - 1, sample.input_ids[i]]) for i in places) / len(places)


def test_shared_prefix_gives_the_likelihoods_of_the_naive_way(backbone, questions):
    asked, root = questions
    # A long option beside short ones: more than one token, and padding.
    asked = [Question(**{**_fields(q), "options": (*q.options[:3], "a red circle moves left slowly")}) for q in asked]
    for prediction, question in zip(
        sorted(ask(backbone, (asked, root), protocol()), key=lambda p: p.question_id),
        sorted(asked, key=lambda q: q.id),
        strict=True,
    ):
        expected = [naive_likelihood(backbone, root, question, option) for option in question.options]
        assert prediction.likelihoods == pytest.approx(expected, abs=1e-4)
        assert prediction.choice == max(range(4), key=lambda i: expected[i])


def test_a_question_longer_than_the_context_is_marked_and_its_neighbours_are_asked(backbone, questions):
    asked, root = questions
    long = Question(**{**_fields(asked[0]), "id": "long", "question": "red " * backbone.context_length_tokens})
    by_id = {p.question_id: p for p in ask(backbone, ([*asked, long], root), protocol())}
    assert by_id["long"].choice is None
    assert "tokens, idefics3 was made for 16384; lower frames.max_frames" in by_id["long"].rule
    assert all(by_id[question.id].choice is not None for question in asked)


def test_greedy_replies_are_those_of_generate(backbone, questions):
    asked, root = questions
    for prediction in ask(backbone, questions, protocol("generate", show_options=False)):
        question = next(q for q in asked if q.id == prediction.question_id)
        prompt = Sample("q", "b", (Message("user", (Video(question.video), Text(question.question))),))
        sample = encode(prompt, root, backbone, Presentation(), add_generation_prompt=True)
        pixels = backbone.pixel_inputs(sample.frames, torch.float32)
        reference = backbone.model.generate(
            input_ids=sample.input_ids[None],
            attention_mask=torch.ones_like(sample.input_ids[None]),
            max_new_tokens=6,
            do_sample=False,
            eos_token_id=backbone.tokenizer.eos_token_id,
            pad_token_id=backbone.tokenizer.pad_token_id,
            **pixels,
        )[0, len(sample.input_ids) :]
        assert prediction.reply == backbone.tokenizer.decode(reference, skip_special_tokens=True).strip()


def test_several_questions_of_one_video_share_it(backbone, questions):
    asked, root = questions
    together = [Question(**{**_fields(q), "video": asked[0].video}) for q in asked]
    alone = [p for q in together for p in ask(backbone, ([q], root), protocol())]
    shared = ask(backbone, (together, root), protocol())
    assert {p.question_id for p in shared} == {p.question_id for p in alone}
    for prediction in shared:
        other = next(p for p in alone if p.question_id == prediction.question_id)
        assert prediction.likelihoods == pytest.approx(other.likelihoods, abs=1e-4)


def test_letters_are_scored_where_options_are_shown(backbone, questions):
    for prediction in ask(backbone, questions, protocol("letter_likelihood")):
        assert len(prediction.likelihoods) == len(prediction.options)
        assert prediction.choice is not None


def test_rows_that_go_a_few_at_a_time_give_the_same(backbone, questions, monkeypatch):
    asked, root = questions
    together = [Question(**{**_fields(q), "video": asked[0].video}) for q in asked]
    for scoring in ("generate", "option_likelihood"):
        whole = {p.question_id: p for p in ask(backbone, (together, root), protocol(scoring))}
        monkeypatch.setattr(engine, "TOKENS_A_PASS", 700)
        for prediction in ask(backbone, (together, root), protocol(scoring)):
            other = whole[prediction.question_id]
            assert prediction.reply == other.reply
            assert prediction.likelihoods == (other.likelihoods and pytest.approx(other.likelihoods, abs=1e-4))
        monkeypatch.undo()


def test_open_questions_are_answered_beside_scored_ones_of_the_same_video(backbone, questions):
    asked, root = questions
    scored = Question(**{**_fields(asked[0]), "id": "scored"})
    free = Question(**{**_fields(asked[0]), "id": "free", "options": (), "labels": (), "gold": None})
    how = protocol(max_new_tokens_open_ended=5)
    both = {p.question_id: p for p in ask(backbone, ([scored, free], root), how)}
    assert both["scored"].likelihoods == pytest.approx(ask(backbone, ([scored], root), how)[0].likelihoods, abs=1e-4)
    (alone,) = ask(backbone, ([free], root), how)
    assert (both["free"].reply, both["free"].scoring, both["free"].rule) == (
        alone.reply,
        "generate",
        "unscored: needs a judge",
    )


def test_a_video_is_read_and_encoded_once_for_all_its_questions(backbone, questions, monkeypatch):
    asked, root = questions
    together = [Question(**{**_fields(q), "video": asked[0].video}) for q in asked]
    reads, encoded, read, run = [], [], prompts.read_clip, backbone.pixel_inputs
    monkeypatch.setattr(prompts, "read_clip", lambda path, *a, **k: reads.append(path) or read(path, *a, **k))
    monkeypatch.setattr(
        backbone, "pixel_inputs", lambda frames, dtype: encoded.append(len(frames)) or run(frames, dtype)
    )
    predictions = ask(backbone, (together, root), protocol())
    assert len(predictions) == 4
    assert (len(reads), len(encoded)) == (1, 1)


def test_blind_answers_do_not_depend_on_the_video(backbone, questions):
    asked, root = questions
    blind = ask(backbone, questions, protocol(blind=True))
    swapped = [Question(**{**_fields(q), "video": asked[0].video}) for q in asked]
    assert [p.likelihoods for p in blind] == [
        p.likelihoods for p in ask(backbone, (swapped, root), protocol(blind=True))
    ]
    assert all(p.frame_indices == () for p in blind)


def test_a_missing_video_leaves_its_question_wrong_and_counted(backbone, questions):
    asked, root = questions
    broken = [Question(**{**_fields(asked[0]), "video": "nowhere.mp4"}), *asked[1:]]
    predictions = ask(backbone, (broken, root), protocol())
    assert len(predictions) == 4
    missing = next(p for p in predictions if p.question_id == asked[0].id)
    assert missing.choice is None
    assert not missing.correct
    assert "nowhere.mp4" in missing.rule


def test_evaluation_goes_on_after_a_kill_and_ends_in_the_same_file(backbone, benchmark, tmp_path):
    whole = evaluate(benchmark, backbone, tmp_path / "whole")
    reference = tmp_path / "whole" / whole.predictions
    torn = tmp_path / "torn" / whole.predictions
    torn.parent.mkdir(parents=True)
    lines = reference.read_bytes().splitlines(keepends=True)
    torn.with_suffix(".partial-0.jsonl").write_bytes(b"".join(lines[:7]) + lines[7][:20])
    again = evaluate(benchmark, backbone, tmp_path / "torn")
    assert torn.read_bytes() == reference.read_bytes()
    assert again == whole
    assert whole.num_questions == 24


def test_the_file_form_of_a_benchmark_can_be_read_alone(benchmark):
    asked, root = benchmark.questions("world_short")
    assert asked == read_questions(root.parent / "short.jsonl", benchmark="world_short")


def _fields(question):
    return {name: getattr(question, name) for name in question.__dataclass_fields__}
