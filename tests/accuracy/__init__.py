"""What the probe says of programs whose truth is known."""
