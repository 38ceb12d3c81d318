"""Coarse-to-fine search on a log scale, as pure rules: axes, rounds, surrogate, halving."""
