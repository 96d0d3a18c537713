"""What is known of L linear layers before integrating: limits, rates, time course, decay (theory 18.4 to 18.8)."""
