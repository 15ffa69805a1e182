"""Tests of the engine, and a plain implementation of the paper that it is measured against."""
