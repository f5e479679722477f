"""One module per stage; engine.ORDER says in which order they run."""
