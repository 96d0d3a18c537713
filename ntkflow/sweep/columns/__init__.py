"""The columns of a table: the numbers of a cell, what the theory adds, and what people call them."""
