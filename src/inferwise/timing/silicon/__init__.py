"""Measured tables of kernels (the extra `silicon`): operators corrected to what was timed near their shapes."""
