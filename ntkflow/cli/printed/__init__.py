"""What commands print: summaries, what was foretold, progress."""
