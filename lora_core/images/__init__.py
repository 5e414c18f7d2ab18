"""From screenshots as a 3D creator writes them to square pictures on one background colour."""
