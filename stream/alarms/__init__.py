"""Alarms with the states of ISA-18.2, from committed results to Redis or a journal."""
