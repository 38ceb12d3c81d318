"""When to decay: a real plateau told from noise, as pure rules."""
