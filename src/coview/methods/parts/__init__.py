"""What systems share, out of their sight: samples, crops, towers over two views, the correlation family."""
