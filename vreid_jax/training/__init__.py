"""Training: the state, the jitted step, the loop over a phase, checkpoints and logs; nothing of any one system."""
