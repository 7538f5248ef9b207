"""Pictures out: what a model makes of photographs, at their full size and within bounded memory."""
