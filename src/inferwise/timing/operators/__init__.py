"""Operators: what a step runs on one device, each with its work and its seconds."""
