"""Measurements of the engine as a user runs it: what it costs, what it keeps, whom it waits for."""
