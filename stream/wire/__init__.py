"""Wire formats: CloudEvents records of frames, results, feedback, and alarms in Redis."""
