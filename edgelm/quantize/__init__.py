"""Fewer bits: ranges from calibration, integer weights, the graphs that use them, and what each choice costs in
accuracy and time."""
