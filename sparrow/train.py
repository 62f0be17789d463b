"""`sparrow train`: fine-tune a backbone on a mixture and evaluate it."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from sparrow.app.entry import CONFIG_PATH, run_app


@hydra.main(version_base="1.3", config_path=CONFIG_PATH, config_name="train")
def main(config: DictConfig) -> float | None:
    """Carry out one run; returns `study.metric`, which optimising sweepers ask for."""
    from sparrow.app.jobs import train_job

    return train_job(config)


if __name__ == "__main__":
    run_app(main)
