from .volumes import segment_file as segment_file
