"""Recipes x settings -> the Pareto front of quality, latency and size. Called, it is
`edgelm.search.pipeline.search`."""

from edgelm.callable_package import make_callable

make_callable(__name__)
