"""Models from elsewhere and for elsewhere: published checkpoints in, ONNX and a hub out."""
