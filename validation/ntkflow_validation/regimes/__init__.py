"""The regime study: where three constants, class constants and a traced kernel foretell an MLP, and where they do not."""
