"""Kidney and kidney-tumor segmentation in CT: the enhanced attention U-Net, Focal Tversky Loss, progressive training."""
