"""`sparrow prepare`: plan a mixture and print what a run would see."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from sparrow.app.entry import CONFIG_PATH, run_app


@hydra.main(version_base="1.3", config_path=CONFIG_PATH, config_name="prepare")
def main(config: DictConfig) -> None:
    """Write manifest, ledger and overlap to the run's folder, on demand another trainer's files, and print them."""
    from sparrow.app.jobs import prepare_job

    prepare_job(config)


if __name__ == "__main__":
    run_app(main)
