"""From raw tagger scores to captions: the method's edits, each change with its reason."""
