"""What any Hydra app sees of us, found as pkg://hydra_plugins.lr_lightning_plugins.conf: our callbacks, no more."""
