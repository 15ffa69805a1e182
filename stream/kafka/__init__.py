"""Frames from Kafka and results to it, exactly once; the only room that knows aiokafka."""
