"""Pure functions of tensors, and the memory bank."""
