"""Vectors of every embedder: unit length, equal for equal texts, kept, and told apart by what they depend on."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from sparrow.core.errors import ConfigError
from sparrow.instructions import tfidf
from sparrow.instructions.embedding import EMBEDDERS, embed, embedding_key
from sparrow.instructions.settings import Embedder
from tests.instructions.texts import instructions

TEXTS = [*instructions(5, 40), "", "Who?"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """The folder of a tiny encoder with random weights."""
    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", *sorted({word for text in TEXTS for word in text.replace("?", " ?").split()})]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", model_max_length=32
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def make(encoder):
    """An embedder by its name."""
    return lambda name, **changes: Embedder(name=name, model=str(encoder) if name == "encoder" else None, **changes)


@pytest.mark.parametrize("name", EMBEDDERS)
def test_vectors_have_length_one_and_depend_on_the_text_alone(name, make):
    vectors = embed(TEXTS, make(name))
    assert vectors.dtype == np.float32
    lengths = np.linalg.norm(vectors, axis=1)
    assert np.allclose(lengths[[bool(text) for text in TEXTS]], 1, atol=1e-5)
    again = embed(TEXTS[::-1] + TEXTS[:3], make(name))
    np.testing.assert_allclose(again[: len(TEXTS)][::-1], vectors, atol=1e-6)
    np.testing.assert_array_equal(again[len(TEXTS) :], again[: len(TEXTS)][::-1][:3])


@pytest.mark.parametrize("name", EMBEDDERS)
def test_nearness_is_likeness(name, make):
    one, other = instructions(1, 20), instructions(1, 20, seed=7)
    vectors = embed(one + other, make(name))
    alike = vectors @ vectors.T
    assert alike[:20, :20].mean() > alike[:20, 20:].mean() + 0.01


@pytest.mark.parametrize("name", EMBEDDERS)
@pytest.mark.parametrize("texts", [[], [""], ["Who?"], ["Who?"] * 5])
def test_small_sets_have_finite_vectors(name, texts, make):
    vectors = embed(texts, make(name))
    assert len(vectors) == len(texts)
    assert np.isfinite(vectors).all()


@pytest.mark.parametrize("name", EMBEDDERS)
def test_vectors_are_kept_by_content(name, make, tmp_path, monkeypatch):
    first = embed(TEXTS, make(name), cache_root=tmp_path)
    module, _, function = EMBEDDERS.path(name).rpartition(".")
    monkeypatch.setattr(f"{module}.{function}", lambda *_: pytest.fail("computed again"))
    np.testing.assert_array_equal(embed(TEXTS, make(name, batch_size=7), cache_root=tmp_path), first)
    (file,) = (tmp_path / "embeddings").iterdir()
    monkeypatch.undo()
    file.write_bytes(b"damaged")
    np.testing.assert_allclose(embed(TEXTS, make(name), cache_root=tmp_path), first, atol=1e-6)


def test_keys_tell_apart_what_vectors_depend_on(make, encoder, tmp_path):
    tfidf, own = make("tfidf"), make("encoder")
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in encoder.iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    keys = [
        embedding_key(TEXTS, tfidf),
        embedding_key(TEXTS[1:], tfidf),
        embedding_key(TEXTS, replace(tfidf, dimensions=9)),
        embedding_key(TEXTS, own),
        embedding_key(TEXTS, replace(own, pooling="cls")),
    ]
    assert len(set(keys)) == len(keys)
    assert embedding_key(TEXTS[::-1], replace(own, model=str(moved), batch_size=3, device="cpu")) == keys[3]
    weights = moved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    assert embedding_key(TEXTS, replace(own, model=str(moved))) != keys[3]


def test_more_texts_than_are_fitted(monkeypatch):
    texts = instructions(40, 120)
    whole = embed(texts, Embedder(dimensions=16))
    monkeypatch.setitem(vars(tfidf), "MAX_FITTED", 60)
    monkeypatch.setitem(vars(tfidf), "CHUNK", 50)
    part = embed(texts, Embedder(dimensions=16))
    assert part.shape == whole.shape == (120, 16)
    assert np.allclose(np.linalg.norm(part, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("most_exact", [2_000, 100], ids=["arpack", "randomized"])
def test_vectors_of_tfidf_do_not_depend_on_the_number_of_threads(most_exact, monkeypatch):
    """BLAS adds up in another order on each number of threads; `selection` would then choose other samples."""
    monkeypatch.setitem(vars(tfidf), "MAX_EXACT", most_exact)
    texts = instructions(300, 600)
    vectors = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            vectors.append(embed(texts, Embedder(dimensions=64)))
    np.testing.assert_array_equal(*vectors)


@pytest.mark.parametrize(
    ("pooling_config", "expected"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
    ],
)
def test_a_sentence_transformers_folder_says_how_it_pools(pooling_config, expected, encoder, tmp_path, make):
    for file in encoder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 16, **pooling_config}))
    found = embed(TEXTS, replace(make("encoder"), model=str(tmp_path)))
    np.testing.assert_allclose(found, embed(TEXTS, make("encoder", pooling=expected)), atol=1e-6)
    (tmp_path / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Dense"}]))
    with pytest.raises(ConfigError, match="Dense, which is not supported"):
        embed(TEXTS, replace(make("encoder"), model=str(tmp_path)))


def test_mean_pooling_leaves_padding_out(make):
    alone = embed(["Who?"], make("encoder"))
    np.testing.assert_allclose(embed(TEXTS, make("encoder"))[-1], alone[0], atol=1e-5)


@pytest.mark.parametrize("model", ["/no/such/encoder", "nobody/no-such-encoder"])
def test_an_encoder_that_is_not_there_is_told_with_a_remedy(model):
    with pytest.raises(ConfigError, match=r"(?s)embedder\.model: .*cannot be loaded.*embedder=tfidf"):
        embed(["Who?"], Embedder(name="encoder", model=model))
