"""Makes pages of the documentation from docstrings, sources and committed rows, when the documentation is built."""
