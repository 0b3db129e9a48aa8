"""Whole videos of a street by several cameras, drawn, with true boxes and identities: for tracking and linking."""
