"""The site: the book's pages with the executed labs among them, built from the source tree."""
