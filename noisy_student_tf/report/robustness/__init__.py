"""What pages say of robustness."""
