"""The drawn world: a tiny place where the whole method can be run and measured on a laptop."""
