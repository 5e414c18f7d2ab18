"""Metrics of samples, checks between steps, and the choice of the epoch."""
