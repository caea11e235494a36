"""StyleAlign: aligned generators and what can be done with them."""
