"""What a search over many processes needs: a journal that survives kill -9, records of jobs, reports of trials.

Nothing here imports torch or lightning: Hydra's plugin scan and light jobs load it.
"""
