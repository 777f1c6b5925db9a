from .batch import predict_scans as predict_scans
from .predictor import make_predictor as make_predictor
from .predictor import predict_volume as predict_volume
from .scans import predict_scan as predict_scan
