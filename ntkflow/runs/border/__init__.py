"""The border: options and readers that nothing damaged breaks, and what a request will cost, said before it is paid."""
