"""Focal Tversky Loss and the losses that it is compared with."""
