"""How a search ends without an answer."""


class SearchRefused(ValueError):
    """What the user asked for can't be searched; no job has run."""


class SearchFailed(RuntimeError):
    """The search cannot go on: no trial of its first round gave a score."""


class TrialRefused(ValueError):
    """Raised in a trial: with these settings no other trial would have a score either, so the search ends here."""
