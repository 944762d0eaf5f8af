"""Budgets: what a model may take, the shapes that keep to it, and what to do where none does."""
