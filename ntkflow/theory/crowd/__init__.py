"""What the theory knows of many problems at once, evaluated in stacks."""
