"""GitHub Markdown: the board, notices, replies, postmortems, reports and policy reviews."""
