"""Protocols, statistics, controls and the report."""
