"""`sparrow evaluate`: ask a checkpoint the questions of benchmarks."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from sparrow.app.entry import CONFIG_PATH, run_app


@hydra.main(version_base="1.3", config_path=CONFIG_PATH, config_name="evaluate")
def main(config: DictConfig) -> float | None:
    """Evaluate one checkpoint; returns `study.metric`."""
    from sparrow.app.jobs import evaluate_job

    return evaluate_job(config)


if __name__ == "__main__":
    run_app(main)
