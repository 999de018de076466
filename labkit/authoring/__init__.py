"""The tools of an author of labs: run them, make a new one, name the repository, look at the machine."""
