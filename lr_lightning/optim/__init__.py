"""Decisions applied to optimizers, without a Trainer; its param_groups is the one writer of LRs."""
