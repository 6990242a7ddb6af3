"""What is seen of a service from outside: numbers of what is stored, and whether it can work."""
