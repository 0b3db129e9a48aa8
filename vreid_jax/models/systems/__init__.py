"""The systems of the papers, one file each: a backbone, its head and what else the paper adds."""
