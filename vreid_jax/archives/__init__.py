"""Archives of many videos and galleries of many files."""
