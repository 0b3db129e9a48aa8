"""Archives: galleries beyond one file, searched as a stream, and kept in a database that grows with them."""
