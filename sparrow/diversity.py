"""`sparrow diversity`: how diverse the instructions of a mixture or of sources are."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from sparrow.app.entry import CONFIG_PATH, run_app


@hydra.main(version_base="1.3", config_path=CONFIG_PATH, config_name="diversity")
def main(config: DictConfig) -> None:
    """Write tables, JSON, pictures and an interactive page to the run's folder, and print the table."""
    from sparrow.app.diversity_job import diversity_job

    diversity_job(config)


if __name__ == "__main__":
    run_app(main)
