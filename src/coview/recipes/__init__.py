"""Published configurations as functions that return complete settings, one file per system."""
