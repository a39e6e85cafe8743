"""A deployment under load: what its users feel, by closed forms."""
