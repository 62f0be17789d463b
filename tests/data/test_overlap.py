"""Duplicates within and across components, and contamination, found by content among literal samples."""

import json

import pandas as pd
import pytest

from sparrow.data.overlap import CHUNK_BYTES, SHOWN, BenchmarkItem, find_overlap, text_key
from sparrow.data.settings import Source
from sparrow.data.sources import load_source
from sparrow.planning.contamination import overlap_of, overlap_text, write_overlap
from sparrow.planning.run_inputs import prepare

TALE = "Once upon a time there was a fox. " * 50


@pytest.mark.parametrize(
    ("one", "other"),
    [("What is it?", " what  IS it"), ("co-operate", "cooperate"), ("Straße", "STRASSE"), ("ﬁn", "fin")],
)
def test_case_space_and_punctuation_do_not_count(one, other):
    assert text_key(one) == text_key(other)
    assert text_key(one) != text_key(one + "x")


class Mixture:
    """Components of literal records, and the files that they show."""

    def __init__(self, folder):
        self.folder, self.sources, self.rows = folder, {}, []

    def file(self, name, content):
        path = self.folder / "media" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def add(self, component, converter, *records, rejected=()):
        (self.folder / f"{component}.json").write_text(json.dumps(records))
        source = Source(converter=converter, files=[f"{component}.json"], root=str(self.folder), media_root="media")
        data = load_source(component, source, cache_root=self.folder / "cache")
        self.sources[component] = data
        for row, sample_id in enumerate(data.ids):
            status = "rejected" if sample_id in rejected else "used"
            self.rows.append((component, component, row, sample_id, status, 0))

    def overlap(self, **benchmarks):
        ledger = pd.DataFrame(self.rows, columns=["component", "source", "row", "sample_id", "status", "showing"])
        shuffled = ledger.sample(frac=1, random_state=0)
        assert find_overlap(shuffled, self.sources, benchmarks).num_samples > 0
        return find_overlap(ledger, self.sources, benchmarks)


@pytest.fixture
def mixture(tmp_path):
    return Mixture(tmp_path)


def clip(id, video, question="What happens?", answer="It rains.", **bounds):
    turns = [{"from": "human", "value": f"<video>\n{question}"}, {"from": "gpt", "value": answer}]
    return {"id": id, "video": video, "conversations": turns, **bounds}


def tale(id, question="Who?", context=TALE):
    return {"id": id, "context": context, "question": question, "answer": "The fox."}


def found(finding):
    assert finding.count == len(finding.first)
    return sorted(finding.first)


def test_a_sample_is_repeated_when_words_and_media_are_the_same(mixture):
    mixture.file("1.mp4", b"one")
    mixture.file("copy.mp4", b"one")
    mixture.file("2.mp4", b"two")
    mixture.add(
        "a",
        "llava",
        clip("first", "1.mp4"),
        clip("same words, same content", "copy.mp4", "what happens"),
        clip("other video", "2.mp4"),
        clip("other answer", "1.mp4", answer="It snows."),
        clip("other part", "1.mp4", start=1, end=2),
        clip("rejected", "1.mp4"),
        rejected=("rejected",),
    )
    mixture.add("b", "llava", clip("elsewhere", "1.mp4"))
    overlap = mixture.overlap()
    assert overlap.num_samples == 6
    assert found(overlap.repeated_within_components) == [("a/same words, same content", "a/first")]
    assert found(overlap.repeated_across_components) == [("b/elsewhere", "a/first")]
    media = mixture.folder / "media"
    assert found(overlap.media_copies) == [(f"{media}/copy.mp4", f"{media}/1.mp4")]
    assert "1 media files are copies of another: copy.mp4 = 1.mp4" in overlap_text(overlap)


def test_long_texts_and_media_of_several_components_are_told_once(mixture):
    mixture.file("1.mp4", b"one")
    mixture.file("again.mp4", b"one")
    mixture.add("a", "llava", clip("a1", "1.mp4"), clip("a2", "1.mp4", "Why?"))
    mixture.add("b", "llava", clip("b1", "again.mp4", "How?"), clip("b2", "again.mp4", "When?"))
    mixture.add("c", "context_qa", tale("c1"), tale("c2", "Where?"))
    mixture.add("d", "context_qa", tale("d1", context=TALE.upper()), tale("d2", context=TALE + "No more."))
    overlap = mixture.overlap()
    assert found(overlap.contexts_across_components) == [("b/b1", "a/a1"), ("d/d1", "c/c1")]
    assert found(overlap.repeated_across_components) == [("d/d1", "c/c1")]
    assert overlap.repeated_within_components.count == 0


def test_files_of_one_size_differ_wherever_their_content_is_looked_at(mixture):
    size = 5 * CHUNK_BYTES
    zeros = bytearray(size)
    mixture.file("0.mp4", zeros)
    for number, place in enumerate((0, size // 2, size - 1), start=1):
        changed = bytearray(zeros)
        changed[place] = 1
        mixture.file(f"{number}.mp4", changed)
    mixture.file("same.mp4", zeros)
    mixture.add("a", "llava", *[clip(name, f"{name}.mp4") for name in ("0", "1", "2", "3", "same")])
    assert found(mixture.overlap().repeated_within_components) == [("a/same", "a/0")]


def test_questions_and_videos_of_benchmarks_are_found_together_and_apart(mixture):
    mixture.file("train_clip.mp4", b"one")
    mixture.file("lecture_7.mp4", b"two")
    copied = mixture.file("bench/renamed.mp4", b"one")
    encoded_again = mixture.file("bench/Lecture_7.webm", b"two, in another codec")
    new = mixture.file("bench/new.mp4", b"new")
    mixture.add("a", "llava", clip("a1", "train_clip.mp4", "What falls?"), clip("a2", "lecture_7.mp4", "Who talks?"))
    found_in = mixture.overlap(
        bench=[
            BenchmarkItem("both", ("what falls", "What falls?\nA. rain"), copied),
            BenchmarkItem("video", ("How long?",), copied),
            BenchmarkItem("name", ("How many?",), encoded_again),
            BenchmarkItem("question", ("Who else?", "Who talks?"), new),
            BenchmarkItem("missing", ("Whose?",), mixture.folder / "nowhere.mp4"),
            BenchmarkItem("no video", ("Which?",)),
        ],
        other=[BenchmarkItem("nothing", ("Why?",), new)],
    ).benchmarks
    bench = found_in["bench"]
    assert bench.num_questions == 6
    assert found(bench.same_question_and_video) == [("both", "a/a1")]
    assert found(bench.same_video) == [("both", "a/a1"), ("video", "a/a1")]
    assert found(bench.same_video_name) == [("name", "a/a2")]
    assert found(bench.same_question) == [("both", "a/a1"), ("question", "a/a2")]
    other = found_in["other"]
    assert not any(f.count for f in (other.same_question, other.same_video, other.same_video_name))


def test_many_findings_are_counted_and_the_first_told(mixture):
    mixture.add("a", "context_qa", *[tale(f"t{i:02}") for i in range(SHOWN + 5)])
    overlap = mixture.overlap()
    assert overlap.repeated_within_components.count == SHOWN + 4
    assert overlap.repeated_within_components.first == [(f"a/t{i + 1:02}", "a/t00") for i in range(SHOWN)]
    assert overlap_text(overlap).splitlines() == [
        "Overlap",
        "  24 samples repeat another of their component: a/t01 = a/t00, a/t02 = a/t00, a/t03 = a/t00, ...",
    ]


def test_only_drawn_rows_are_read_and_meant_repetitions_are_none(mixture):
    mixture.add("a", "context_qa", *[tale(f"t{i}", f"Who {i % 5}?") for i in range(10)])
    mixture.rows = [mixture.rows[i] for i in (7, 2)]
    mixture.rows += [(*row[:-1], 1) for row in mixture.rows]
    assert found(mixture.overlap().repeated_within_components) == [("a/t7", "a/t2")]


def test_rows_are_found_in_every_part_of_a_large_source(mixture):
    long = "word " * 500_000  # more than is held before a part is written
    mixture.add("a", "context_qa", *[tale(f"t{i}", f"Who {i % 4}?", f"{long} {i % 4}") for i in range(6)])
    mixture.rows = [mixture.rows[i] for i in (5, 3, 1)]
    assert found(mixture.overlap().repeated_within_components) == [("a/t5", "a/t1")]


def test_a_benchmark_that_is_not_there_is_said_to_be_unchecked(settings, tmp_path):
    config = settings(
        "benchmark=[multiple_choice,world/short]",
        "benchmark.multiple_choice.file=none.jsonl",
        f"benchmark.multiple_choice.root={tmp_path}",
    )
    overlap = overlap_of(config, prepare(config))
    write_overlap(overlap, tmp_path)
    written = json.loads((tmp_path / "overlap.json").read_text())
    assert list(written["not_checked"]) == ["multiple_choice"]
    assert "none.jsonl" in written["not_checked"]["multiple_choice"]
    assert written["benchmarks"]["world_short"]["num_questions"] == 24
    assert written["benchmarks"]["world_short"]["same_video"]["count"] == 0
    heading, line, *_ = overlap_text(overlap).splitlines()
    assert (heading, line.startswith("  multiple_choice: there is nothing to ask: ")) == ("Benchmarks", True)


def test_nothing_found_is_said(mixture):
    mixture.add("a", "context_qa", tale("t1"))
    assert overlap_text(mixture.overlap(bench=[BenchmarkItem("q", ("Why?",))])).splitlines() == [
        "Overlap",
        "  none among 1 samples and bench",
    ]
