"""The queue on AWS SQS."""
