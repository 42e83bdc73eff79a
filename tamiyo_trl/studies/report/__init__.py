"""Reports: pages, tables, pictures and verdicts made from a study's files alone."""
