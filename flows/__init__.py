"""Flows: the wiring of the steps, and the front doors to it."""
