"""Models that can rank a video nobody has seen."""
