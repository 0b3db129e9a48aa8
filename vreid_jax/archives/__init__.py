"""Archives: many videos embedded on many machines, galleries of many files, and a database that grows with them."""
