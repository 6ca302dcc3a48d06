"""What a schedule will give, before its steps are spent: laws of the loss curve, fitted to runs that were made."""
