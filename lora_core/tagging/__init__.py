"""What is on a picture, read by a tagger in WD14's format."""
