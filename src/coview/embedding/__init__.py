"""Features of a frozen model: made once, kept in one form, and compared."""
