"""`sparrow diversity`: how diverse the instructions of a mixture or of sources are."""

from __future__ import annotations

import logging
from pathlib import Path

from sparrow.commands.diversity.figures import write_pictures
from sparrow.commands.diversity.measure import diversity_text, measure_diversity, write_diversity
from sparrow.commands.diversity.projection import project
from sparrow.commands.diversity.scatter_page import write_page
from sparrow.settings import DiversityConfig

log = logging.getLogger(__name__)


def diversity(config: DiversityConfig, folder: Path) -> None:
    """Measure, write tables, figures and an interactive page to a folder, and print the tables."""
    sampled = measure_diversity(config)
    write_diversity(sampled, config, folder)
    print(diversity_text(sampled))
    if config.pictures:
        log.info("drawing")
        logging.getLogger("fontTools").setLevel(logging.WARNING)  # it logs every glyph of a PDF
        projections = project(sampled, config.num_in_pictures, config.data_seed)
        write_pictures(sampled.comparison, projections, folder)
        print(f"open {write_page(sampled, projections, folder / 'diversity.html', config)}")
    print(f"tables and pictures: {folder}")
