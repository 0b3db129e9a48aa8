"""The process and its devices: mesh, dtype, several processes, compilation cache, XLA's flags."""
