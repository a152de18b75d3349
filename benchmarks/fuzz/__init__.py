"""Random calls of everything public, with arguments that fit, that may fit, and that cannot."""
