"""What `gpu.py` and `train.py` measure with: jobs in processes of their own, real shapes, ways to train."""
