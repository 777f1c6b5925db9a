"""Kidney and kidney-tumor segmentation in CT: enhanced attention U-Net, Focal Tversky Loss, progressive training."""
