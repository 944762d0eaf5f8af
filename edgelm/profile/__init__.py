"""Bundle x machine -> Profile: latency, load time, memory, operators. Called, it is
`edgelm.profile.pipeline.profile`."""

from edgelm.callable_package import make_callable

make_callable(__name__)
