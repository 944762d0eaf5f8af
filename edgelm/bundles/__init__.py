"""Bundles written, and bundles changed: what export makes and what the device adds to it."""
