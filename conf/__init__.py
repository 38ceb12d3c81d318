"""Configuration groups of lr_lightning, found by Hydra as pkg://lr_lightning.conf."""
