"""Variables of a module, as some programs keep their state."""

total = 0
seen: dict[int, int] = {}
