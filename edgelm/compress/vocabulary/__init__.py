"""Vocabularies cut to the tokens that texts use."""
