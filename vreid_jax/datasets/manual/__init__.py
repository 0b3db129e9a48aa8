"""Datasets that users bring: archives, MATLAB tables, person splits, and the builder they share."""
