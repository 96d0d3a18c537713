"""What a user brings along: files of data, and the hashes by which a run knows them again."""
