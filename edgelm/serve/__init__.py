"""Answers over HTTP: bundles behind the Open Inference Protocol and behind the paths of OpenAI's clients."""
