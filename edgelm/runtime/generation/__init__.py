"""Writes text with a bundle's graphs, token by token."""
