"""Stored embeddings and exact nearest neighbours."""
