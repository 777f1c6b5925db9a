"""From cached slices to tf.data batches."""
