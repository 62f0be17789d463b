"""Fine-tuning: the LightningModule, optimization, checkpoints and logging."""
