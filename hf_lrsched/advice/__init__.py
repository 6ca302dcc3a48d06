"""What to use: cited figures first, then the code that reads them."""
