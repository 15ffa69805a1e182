"""Frames, results, outcomes, feedback, alarms and limits as plain data."""
