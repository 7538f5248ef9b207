"""The page that `coview serve` shows: look at a collection, listen to it, search it, label it."""
