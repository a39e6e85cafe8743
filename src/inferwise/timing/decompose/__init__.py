"""A deployment as operators: what one device of each pipeline stage runs in a step."""
