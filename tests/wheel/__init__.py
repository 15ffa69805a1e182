"""The distribution as a stranger gets it: built, installed into an empty environment, and used outside the checkout."""
