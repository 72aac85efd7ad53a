"""A forest as a folder."""
