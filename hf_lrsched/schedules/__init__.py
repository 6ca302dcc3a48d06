"""What a schedule is: phases, shapes, lengths and the catalogue. Standard library and numpy alone."""
