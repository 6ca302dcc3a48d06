"""Showing it to people: values in, a figure or text out. Computes nothing."""
