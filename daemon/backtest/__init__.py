"""A replay's report for people: the table of a terminal and one page with plots."""
