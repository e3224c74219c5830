"""What makes two Adams differ: residuals against twins, the exact split, the ladder, causes."""
