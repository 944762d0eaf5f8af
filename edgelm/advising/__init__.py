"""Which model to begin with: published encoders and the user's own, as they are and cut, against a device's budget.
Nothing is downloaded, and nothing is measured."""
