"""coview: one view of a recording teaches another."""
