"""Models judged by what they predict: integrated leave-one-out, its importance weights, evidence."""
