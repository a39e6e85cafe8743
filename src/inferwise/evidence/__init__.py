"""Evidence: what engines say of themselves, held against what we predict."""
