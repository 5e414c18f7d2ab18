"""The character drawn anew in the base's own look: scenes, drawing, and the selection of what is trained on."""
