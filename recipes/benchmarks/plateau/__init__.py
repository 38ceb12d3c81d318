"""When to decay: the plateau rules and others, on tasks and signals: ``python -m recipes.benchmarks.plateau``."""
