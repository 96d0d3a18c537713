"""Where cells are kept: the directory of a sweep, files of cells, shards of rows, and how these stand in them."""
