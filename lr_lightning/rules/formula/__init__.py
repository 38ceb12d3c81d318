"""Formulas: a small language for schedules, its presets, and their values over a run."""
