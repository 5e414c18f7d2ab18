"""Families of base models: presets of numbers that fit them, telling which one a file is of, and what does not fit."""
