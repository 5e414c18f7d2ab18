"""The laboratory: does the method really take the 3D look out? Measured in a world where the truth is known."""
