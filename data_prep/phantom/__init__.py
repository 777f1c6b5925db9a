"""Simulate CT of patients with kidneys and kidney tumors."""
