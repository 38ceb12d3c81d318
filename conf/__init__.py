"""The lr-lightning command's own configuration, found by Hydra as pkg://lr_lightning.conf."""
