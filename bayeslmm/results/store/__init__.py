"""A fit as a folder."""
