"""From a frame to a verdict: search, the score of Eq. 6-7, anomaly map, drift."""
