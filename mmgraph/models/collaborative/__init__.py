"""Models of who watched what."""
