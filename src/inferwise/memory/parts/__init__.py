"""What the accountings of several engines are put together from."""
