"""Decisions applied to optimizers, without a Trainer; its group.set_lr is the one writer of LRs."""
