"""What runs in the user's environment. Standard library only; Python 3.9 and old NumPy and pandas are tolerated."""
