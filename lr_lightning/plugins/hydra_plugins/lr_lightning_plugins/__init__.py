"""Hydra plugins: the search path and the sweeper. A module here that raises would stop every Hydra app."""
