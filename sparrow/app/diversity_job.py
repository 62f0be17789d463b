"""The work of `sparrow diversity`."""

from __future__ import annotations

import logging

from omegaconf import DictConfig

from sparrow.app.current_job import one_message, run_folder
from sparrow.app.jobs import quiet_libraries
from sparrow.app.settings import checked
from sparrow.core.config import DiversityConfig
from sparrow.runs.diversity.measuring import diversity_text, measure_diversity, write_diversity
from sparrow.runs.diversity.page import write_page
from sparrow.runs.diversity.pictures import write_pictures
from sparrow.runs.diversity.projecting import project

log = logging.getLogger(__name__)


def diversity_job(config: DictConfig) -> None:
    """Measure, write tables and pictures, print the tables."""
    quiet_libraries()
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # tells every glyph of a PDF

    def work() -> None:
        settings = checked(config, DiversityConfig)
        sampled = measure_diversity(settings)
        folder = run_folder()
        write_diversity(sampled, settings, folder)
        print(diversity_text(sampled))
        if settings.pictures:
            log.info("drawing")
            projections = project(sampled, settings.num_in_pictures, settings.data_seed)
            write_pictures(sampled.comparison, projections, folder)
            print(f"open {write_page(sampled, projections, folder / 'diversity.html', settings)}")
        print(f"tables and pictures: {folder}")

    one_message(work)
