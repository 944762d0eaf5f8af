"""Rows of text with their labels, from files, folders and the hub."""
