"""Cards: what a person and a model hub should know of a checkpoint or a bundle, in its README.md."""
