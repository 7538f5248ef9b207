"""Files to tensors and back."""
