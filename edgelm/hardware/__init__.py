"""What this machine is and can do: processors, memory, sensors, rates."""
