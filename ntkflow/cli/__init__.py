"""The terminal: parses, calls one public function, prints."""
