"""Our networks against those that people use now, with the same weights and in one process."""
