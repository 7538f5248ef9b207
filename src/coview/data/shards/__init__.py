"""Prepared copies: ordinary tar files in WebDataset naming, with an offset table for random access."""
