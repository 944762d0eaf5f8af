"""Files: settings in YAML, overrides, what is shipped with the package, and outputs that are never half written."""
