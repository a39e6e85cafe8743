"""How long a step takes: its operators, and the seconds of each."""
