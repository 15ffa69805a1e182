"""From feedback to a new generation that every worker takes."""
