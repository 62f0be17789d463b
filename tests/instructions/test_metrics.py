"""Metrics rank what is known to be more diverse, whatever the order, and agree with their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparrow.core.errors import DataError
from sparrow.instructions.corpus import make_corpus, words_of
from sparrow.instructions.metrics import MetricEstimate, estimate
from sparrow.instructions.settings import METRICS, Embedder
from sparrow.instructions.source_comparison import compare, embed_all
from sparrow.settings import DiversityConfig
from tests.instructions.texts import instructions

SETS = {"one": instructions(1), "few": instructions(6, seed=1), "many": instructions(150, seed=2)}
REPEATED = ["Describe the video in detail."] * 30


def corpora_of(sets):
    vectors = embed_all(sets, Embedder())
    return {name: make_corpus(texts, vectors[name]) for name, texts in sets.items()}


@pytest.fixture(scope="module")
def corpora():
    return corpora_of(SETS)


def corpus_of(texts, vectors=None):
    vectors = np.eye(len(texts)) if vectors is None else vectors
    return make_corpus(texts, np.asarray(vectors, dtype=np.float32))


@pytest.mark.parametrize("name", METRICS)
def test_one_template_ranks_below_few_below_many(name, corpora):
    one, few, many = (METRICS[name](corpora[key]) for key in ("one", "few", "many"))
    assert one < few < many if METRICS[name].more_is_diverse else one > few > many


@pytest.mark.parametrize("name", METRICS)
def test_one_instruction_repeated_ranks_last(name):
    repeated, one = corpora_of({"repeated": REPEATED, "one": instructions(1, 30)}).values()
    low, high = METRICS[name](repeated), METRICS[name](one)
    assert low <= high if METRICS[name].more_is_diverse else low >= high


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_order_does_not_count(name, corpora, seed):
    few = corpora["few"]
    order = np.random.default_rng(seed).permutation(len(few))
    shuffled = make_corpus([few.texts[i] for i in order], few.vectors[order])
    assert METRICS[name](shuffled) == pytest.approx(METRICS[name](few), rel=1e-6)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(
    "texts", [[], ["Who?"], ["?!"], REPEATED, ["???"] * 4, ["a", "a b"], ["Who?", "?!", ""]], ids=repr
)
def test_every_set_has_a_finite_value_and_interval(name, texts):
    (corpus,) = corpora_of({"only": texts}).values()
    found = estimate(corpus, num_resamples=5)[name]
    metric = METRICS[name]
    assert all(math.isfinite(value) for value in vars(found).values())
    assert metric.low <= found.low <= found.value <= found.high <= metric.high


@pytest.fixture(scope="module")
def estimates(corpora):
    """Of one set: twice from one seed, and from another."""
    return [estimate(corpora["few"], 20, seed=seed) for seed in (0, 0, 1)]


@pytest.mark.parametrize("name", METRICS)
def test_intervals_hold_the_value_and_are_seeded(name, estimates):
    found, again, otherwise = (of_seed[name] for of_seed in estimates)
    assert found.low < found.value < found.high
    assert again == found
    assert otherwise != found


def test_intervals_narrow_with_size(corpora):
    small, large = (estimate(corpora["few"].take(np.arange(n)), 40) for n in (40, 300))
    for name in ("mean_pairwise_distance", "entropy_2", "template_rate"):
        assert large[name].high - large[name].low < 0.7 * (small[name].high - small[name].low)


def test_intervals_of_repetitions_hold_the_value_of_a_fresh_sample():
    """Without centring, the repetitions in resamples would put the whole interval below the value."""
    fresh = [METRICS["distinct_2"](corpus_of(instructions(150, 200, seed))) for seed in range(20)]
    found = estimate(corpus_of(instructions(150, 200, seed=50)), 100)["distinct_2"]
    assert found.low < found.value < found.high
    assert np.mean([found.low <= value <= found.high for value in fresh]) > 0.5


def test_vendi_score_is_that_of_the_full_kernel():
    vectors = np.random.default_rng(0).normal(size=(60, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(vectors @ vectors.T / 60)
    values = values[values > 1e-12]
    corpus = corpus_of([str(i) for i in range(60)], vectors)
    assert METRICS["vendi_score"](corpus) == pytest.approx(np.exp(-(values * np.log(values)).sum()), rel=1e-4)
    assert METRICS["effective_rank"](corpus) == pytest.approx(1 / np.square(values).sum(), rel=1e-4)


@pytest.mark.parametrize("name", ["vendi_score", "effective_rank"])
def test_effective_numbers_count_what_is_orthogonal(name):
    assert METRICS[name](corpus_of(["a", "b", "c"])) == pytest.approx(3)
    assert METRICS[name](corpus_of(["a", "b", "c"], [[1, 0], [1, 0], [1, 0]])) == pytest.approx(1)


def test_pairwise_distance_is_the_mean_over_pairs():
    vectors = np.random.default_rng(1).normal(size=(40, 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = [1 - vectors[i] @ vectors[j] for i in range(40) for j in range(40) if i != j]
    measured = METRICS["mean_pairwise_distance"](corpus_of([str(i) for i in range(40)], vectors))
    assert measured == pytest.approx(np.mean(pairs), rel=1e-5)


def test_counts_of_words():
    corpus = corpus_of(["a b a", "A b!", "c"])
    assert METRICS["distinct_1"](corpus) == pytest.approx(3 / 6)
    assert METRICS["distinct_2"](corpus) == pytest.approx(2 / 3), "a b twice, b a once"
    assert METRICS["entropy_2"](corpus) == pytest.approx(-(2 / 3) * math.log2(2 / 3) - (1 / 3) * math.log2(1 / 3))


def test_words_of_other_scripts():
    assert words_of("Don't STOP, 12 times") == ["don't", "stop", "12", "times"]
    assert words_of("视频里 ok") == ["视", "频", "里", "ok"]


def test_templates_mask_numbers_and_rare_words():
    texts = [f"Give me {number} facts about {name} please" for number, name in enumerate(["Anna", "Bo", "Cy", "Di"])]
    corpus = corpus_of([*texts, "quite another thing", "one more such odd line"])
    assert corpus.template_names[0] == "give me # facts about … please"
    assert METRICS["template_rate"](corpus) == pytest.approx(4 / 6)
    assert "quite another thing" in corpus.template_names, "what is rare throughout is its own template"


def test_compression_ratio_finds_repetition():
    assert METRICS["compression_ratio"](corpus_of(REPEATED)) > 10
    assert METRICS["compression_ratio"](corpus_of(["qx"])) < 1.5


def test_sources_are_compared_at_the_size_of_the_smallest_that_is_large_enough():
    texts = {"large": instructions(50, 60), "small": instructions(9, 20), "tiny": ["Who?"], "empty": []}
    found = compare(texts, embed_all(texts, Embedder()), {}, DiversityConfig(num_resamples=3)).sources
    assert {name: measured.num_compared for name, measured in found.items()} == {
        "large": 20,
        "small": 20,
        "tiny": 1,
        "empty": 0,
    }
    assert found["large"].num_instructions == 60
    assert found["empty"].metrics["vendi_score"] == MetricEstimate(0.0, 0.0, 0.0)


def test_a_metric_of_ones_own_is_measured_and_its_failure_names_it(tmp_path, monkeypatch):
    (tmp_path / "my_metrics.py").write_text(
        "from sparrow.instructions.metrics import Metric\n"
        "LENGTH = Metric('length', lambda corpus: sum(map(len, corpus.texts)) / len(corpus), 'mean characters', 'own')\n"
        "LOST = Metric('lost', lambda corpus: float('nan'), 'nothing', 'own')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    corpus = corpus_of(["ab", "abcd"])
    assert list(estimate(corpus, 0, names=["distinct_1", "my_metrics.LENGTH"])) == ["distinct_1", "my_metrics.LENGTH"]
    assert estimate(corpus, 0, names=["my_metrics.LENGTH"])["my_metrics.LENGTH"].value == 3
    with pytest.raises(DataError, match=r"2 instructions: the metric of diversity 'my_metrics\.LOST' failed .*nan"):
        estimate(corpus, 0, names=["my_metrics.LOST"])
