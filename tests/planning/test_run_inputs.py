"""What is told of a plan before its samples are drawn: notes on settings, and files that are missing."""

import math

import pytest

from sparrow.core.errors import DataError
from sparrow.data.mixture import component_sizes
from sparrow.data.settings import Component, Mixture
from sparrow.planning.run_inputs import prepare, scaled_down

PAGES = ("text_to_image.page_width_px=256", "text_to_image.page_height_px=256", "text_to_image.words_per_page=115")


def test_a_component_that_dividing_leaves_without_a_sample_is_named(settings, caplog):
    prepared = prepare(settings("mixture.num_samples=24", "sample_divisor=500"))
    _, note = prepared.notes
    assert set(prepared.presentations) == {"video"}
    assert "sample_divisor=500 makes 1 of mixture.num_samples=24, which leaves component 'text' without a" in note
    assert "set sample_divisor=1" in note
    assert note in caplog.text


@pytest.mark.parametrize("total", [30_000, 60_000, 100_000])
def test_a_divided_mixture_adds_up_and_keeps_its_shares(total):
    """The paper's: thirds of two videos, fixed numbers of two texts, and the rest of a third."""
    parts = {"a": {"fraction": 1 / 3}, "b": {"fraction": 1 / 3}, "c": {"num_samples": 5000}, "d": {"num_samples": 5000}}
    components = {name: Component(source=name, **part) for name, part in parts.items()}
    components["e"] = Component(source="e", remainder=True)
    mixture = Mixture(num_samples=total, components=components)
    whole = component_sizes(mixture)
    for divisor in range(1, 1001):
        sizes = component_sizes(scaled_down(mixture, divisor))
        assert sum(sizes.values()) == math.ceil(total / divisor)
        for name, size in sizes.items():
            assert size == pytest.approx(whole[name] / divisor, abs=1)
        assert (sizes["e"] == 0) or total > 30_000


def test_divided_sizes_without_a_total_are_rounded_up():
    mixture = Mixture(
        components={name: Component(source=name, num_samples=size) for name, size in {"a": 7, "b": 900}.items()}
    )
    assert component_sizes(scaled_down(mixture, 100)) == {"a": 1, "b": 9}


@pytest.mark.parametrize("divisor", [1, 24])
def test_a_component_left_out_on_purpose_is_not_spoken_of(settings, divisor):
    shares = ("mixture.components.video.fraction=1", "mixture.components.text.fraction=0")
    notes = prepare(settings(*shares, f"sample_divisor={divisor}")).notes
    assert not any("without a sample" in note for note in notes)


def test_generated_tables_that_stand_in_for_files_are_told(settings):
    mine = ("+source=[llava]", "use_world=true", "mixture.components.video.source=llava")
    assert prepare(settings(*mine)).notes == [
        "use_world=true: tables of the generated world stand in for the files of 'llava' (table clips); "
        "set use_world=false to read the files"
    ]


def test_pages_much_larger_than_the_frames_are_told(settings):
    (note,) = prepare(settings(*PAGES)).notes
    assert note.startswith("pages are 256 x 256 px, frames 64 x 64 px: text is shown at 0.25 of its size")
    assert prepare(settings(*PAGES, "mixture=world/video", "mixture.num_samples=8")).notes == []


def test_pages_a_little_larger_than_the_frames_are_as_in_the_paper(settings):
    assert prepare(settings("text_to_image.page_width_px=80", "text_to_image.page_height_px=80")).notes == []


def test_steps_that_16_bits_round_away_are_told(settings):
    in_bf16 = "trainer.precision=bf16-true"
    (note,) = prepare(settings(in_bf16, "tuning=freeze_vision", "optimizer.learning_rate=5e-6")).notes
    assert note.startswith("trainer.precision=bf16-true: the weights of projector, language_model are trained in 16")
    assert "at optimizer.learning_rate=5e-06 little may be learnt; set trainer.precision=bf16-mixed" in note
    assert prepare(settings("trainer.precision=bf16-mixed")).notes == []
    assert prepare(settings(in_bf16, "tuning=lora", "tuning.projector.mode=frozen")).notes == []


@pytest.mark.parametrize(("world", "is_hinted"), [("clips", True), ("null", False)])
def test_a_rehearsal_is_advised_only_where_a_generated_table_stands_in(settings, tmp_path, world, is_hinted):
    overrides = ("mixture=world/video", "source.world_clips.files=[gone.json]", f"source.world_clips.root={tmp_path}")
    with pytest.raises(DataError, match="1 file is missing") as caught:
        prepare(settings(*overrides, "source.world_clips.use_world=false", f"source.world_clips.world={world}"))
    assert ("rehearse with use_world=true" in str(caught.value)) is is_hinted
    assert "set paths.data_root or a source's root" in str(caught.value)


def test_a_rehearsal_keeps_sizes_and_readable_pages_of_sources_without_a_generated_table(settings, tmp_path):
    def rehearsed(*mixture):
        found = settings("scale=tiny", *mixture, small=False)
        return found.sample_divisor, found.backbone.frame_size_px, found.text_to_image.words_per_page

    own = [
        "+source.mine={converter: context_qa, root: /x}",
        "+mixture.components.mine={source: mine, num_samples: 30, present_as: pages}",
    ]
    assert rehearsed("mixture=world/sparrow") == (500, 64, 5)
    assert rehearsed(*own) == (1, 256, 115)
    assert rehearsed("mixture=world/video", *own, "mixture.components.video.fraction=0.5") == (500, 256, 115)


def test_what_the_divisor_divided_is_told(settings):
    config = settings("sample_divisor=2", "mixture=world/video", "mixture.num_samples=9", "validation.num_samples=3")
    told = "sample_divisor=2 divided mixture.num_samples from 9 to 5, validation.num_samples from 3 to 2; "
    assert any(note.startswith(told) for note in prepare(config).notes)
