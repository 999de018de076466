"""How models and data are fetched, checked and kept."""
