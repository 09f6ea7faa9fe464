"""Visual extraction tuning: scenes with exact ground truth, the data made from them, training."""
