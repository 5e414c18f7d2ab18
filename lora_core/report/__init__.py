"""Pages for people: the report of a run, contact sheets, the model card."""
