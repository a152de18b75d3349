"""Models of who watched what, and of what the videos look, sound and read like."""
