"""`sparrow preview`: one HTML page of samples as the model gets them."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from sparrow.app.entry import CONFIG_PATH, run_app


@hydra.main(version_base="1.3", config_path=CONFIG_PATH, config_name="preview")
def main(config: DictConfig) -> None:
    """Write `preview.html` to the run's folder."""
    from sparrow.app.jobs import preview_job

    preview_job(config)


if __name__ == "__main__":
    run_app(main)
