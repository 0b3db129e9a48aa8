"""Datasets that users must obtain themselves: archives, MATLAB tables, person splits, and their common builder."""
