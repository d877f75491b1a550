"""How an alert gets to somebody."""
