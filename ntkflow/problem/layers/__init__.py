"""Features that are L linear layers of fixed inputs: problem, state and initial states (theory 18.1)."""
