"""What is claimed, equation by equation, each with its proof or its counterexample."""
