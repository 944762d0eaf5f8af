"""What a graph would take on a device that is not there: its work, counted, and a roofline with fitted efficiencies."""
