"""From raw tagger scores to captions: the method's six edits, each change with its reason."""
