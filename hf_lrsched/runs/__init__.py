"""What a run did: numbers read back from files. Neither torch nor transformers is imported here."""
