"""The enhanced attention U-Net of the paper, its file, and what it attends to."""
